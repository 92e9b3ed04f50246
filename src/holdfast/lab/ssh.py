"""The one way from this computer into the lab: an ssh_config that reaches the workstation through its router."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.proc import run

_CONFIG = """\
# Written for the lab {name!r}; gone with it.
Host {name} {address}
    HostName {address}
    User {user}
    IdentityFile "{key}"
    IdentitiesOnly yes
    UserKnownHostsFile "{known}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    # nodelay: without it Nagle's algorithm and delayed acknowledgements cost 40 ms a command.
    # keepalive: a machine whose power was cut says nothing more, and whoever only listens would wait for ever.
    ProxyCommand ip netns exec {router} socat - TCP:%h:%p,nodelay,keepalive,keepidle=10,keepintvl=5,keepcnt=4
    ControlMaster auto
    ControlPersist 60
    ControlPath {sockets}/%C
    LogLevel ERROR
"""


def make_keys(layout: Layout, env: dict[str, str]) -> None:
    """The user's key, the machine's host key, known_hosts and ssh_config, in the lab's folder."""
    host_key = layout.folder / "ssh_host_key"
    for path, comment in ((layout.ssh_key, f"operator of the lab {layout.name}"), (host_key, layout.name)):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], env=env)
    kind, key = host_key.with_suffix(".pub").read_text().split()[:2]
    names = (layout.name, at.WORKSTATION4, at.WORKSTATION6)
    layout.known_hosts.write_text("".join(f"{name} {kind} {key}\n" for name in names))
    layout.ssh_config.write_text(
        _CONFIG.format(
            name=layout.name, address=at.WORKSTATION4, user=at.LOGIN_USER, key=layout.ssh_key, known=layout.known_hosts,
            router=layout.netns("router"), sockets=layout.sockets,
        )
    )  # fmt: skip
    layout.sockets.mkdir(parents=True, exist_ok=True)
    layout.sockets.chmod(0o700)


def ssh(
    layout: Layout,
    command: Sequence[str],
    *,
    input: str | None = None,
    timeout: float = 60,
    fresh: bool = False,
    connect_s: int = 3,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` (words joined by blanks, as ssh does) on the workstation as the login user.

    ``fresh``: a connection of its own instead of the shared one, made within ``connect_s`` seconds. Returns whatever the
    status; 255 is ssh's own failure.
    """
    own = ["-o", "ControlPath=none", "-o", f"ConnectTimeout={connect_s}"] if fresh else []
    argv = ["ssh", "-F", str(layout.ssh_config), *own, layout.name, *command]
    return subprocess.run(
        argv, input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True,
        errors="replace", timeout=timeout, check=False,
    )  # fmt: skip


def hang_up(layout: Layout) -> None:
    """End the shared connections; the next command makes a new one."""
    if layout.ssh_config.exists() and layout.sockets.exists() and any(layout.sockets.iterdir()):
        argv = ["ssh", "-F", str(layout.ssh_config), "-O", "exit", layout.name]
        subprocess.run(argv, capture_output=True, check=False)


def close(layout: Layout) -> None:
    """End shared connections and remove the folder of their sockets. Harmless twice."""
    hang_up(layout)
    shutil.rmtree(layout.sockets, ignore_errors=True)
