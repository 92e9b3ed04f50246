"""The tailnet's other members: a phone and a laptop, each the real tailscaled in a namespace of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, environment, start, wait_until
from holdfast.proc import run

MEMBERS = ("phone", "laptop")
MAGIC_DNS = "100.100.100.100"
# tailscaled rewrites /etc/resolv.conf and talks to systemd-resolved over D-Bus: here it gets an /etc and a /run of its
# own, so that it can never change those of this computer. `ip netns exec` has made the mount namespace private already.
_OWN_ETC = 'mount --bind "$1" /etc && mount -t tmpfs tmpfs /run || exit 1; shift; exec "$@"'
# An accidental contact with tailscale.com is a crash, not a leak.
_QUIET = {"TS_NO_LOGS_NO_SUPPORT": "true", "TS_PANIC_IF_HIT_MAIN_CONTROL": "1", "TS_DISABLE_PORTMAPPER": "1"}


def unpack(package: Path, folder: Path, env: dict[str, str]) -> None:
    """Unpack the tailscale .deb, the very package that the workstation installs."""
    if not (folder / "usr/sbin/tailscaled").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(["dpkg-deb", "-x", package, folder], env=env)


class Member:
    """A phone or a laptop; ``programs`` is the unpacked tailscale package, ``ca`` the authority to trust."""

    def __init__(self, layout: Layout, nonce: str, node: str, programs: Path, ca: Path) -> None:
        self.layout, self.nonce, self.node, self.programs, self.ca = layout, nonce, node, programs, ca
        self.folder = layout.folder / node
        self.socket = self.folder / "tailscaled.sock"

    @property
    def key(self) -> Path:
        """The file with the key for its first join."""
        return self.folder / "auth_key"

    def start(self) -> Process:
        """Start its tailscaled and wait until that answers."""
        etc = self.folder / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        resolver = f"nameserver {MAGIC_DNS}\nsearch {at.BASE_DOMAIN}\n"
        (etc / "resolv.conf").write_text(f"nameserver {at.UPLINK_DNS}\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (etc / "nsswitch.conf").write_text("hosts: files dns\n")
        # What `ip netns exec` shows as /etc/resolv.conf to everyone else in this namespace (ip-netns(8)).
        theirs = Path("/etc/netns", self.layout.netns(self.node))
        theirs.mkdir(parents=True, exist_ok=True)
        (theirs / "resolv.conf").write_text(resolver)
        log = self.layout.logs / f"{self.node}.log"
        argv: list[str | Path] = [
            "ip", "netns", "exec", self.layout.netns(self.node), "sh", "-c", _OWN_ETC, self.node, etc,
            self.programs / "usr/sbin/tailscaled", "--tun=tailscale0", "--port=41641", f"--statedir={self.folder}",
            f"--socket={self.socket}", "--no-logs-no-support",
        ]  # fmt: skip
        process = start(self.node, argv, nonce=self.nonce, log=log, env={**_QUIET, "SSL_CERT_FILE": str(self.ca)})
        wait_until(
            f"the {self.node}'s tailscaled does not come up",
            lambda: self.tailscale("status", "--json", "--peers=false", check=False).returncode == 0,
            seconds=30, process=process, log=log,
        )  # fmt: skip
        return process

    def join(self) -> None:
        """Join the tailnet with the key file; needed once."""
        self.tailscale(
            "up", f"--login-server={at.CONTROL_URL}", f"--auth-key=file:{self.key}", f"--hostname={self.node}",
            "--accept-dns=true", "--timeout=60s",
        )  # fmt: skip
        self.key.unlink()

    def status(self) -> dict[str, Any]:
        """`tailscale status --json`."""
        found: dict[str, Any] = json.loads(self.tailscale("status", "--json").stdout)
        return found

    def tailscale(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the tailscale program against this member's daemon."""
        argv: list[str | Path] = [self.programs / "usr/bin/tailscale", f"--socket={self.socket}", *words]
        return run(argv, env=environment(self.nonce), check=check, timeout=90)
