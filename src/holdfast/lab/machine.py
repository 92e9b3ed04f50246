"""The workstation: systemd-nspawn with a real systemd inside, started again when it reboots."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import cgroups
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, alive, start, tail
from holdfast.lab.ssh import ssh

BOOT_SECONDS = 90  # 2 to 3 on an idle computer; more when its two cores are busy

# $1 network namespace, then the groups up to --, then the command.
# 133: systemd-nspawn run with --keep-unit ends with it when the machine reboots (src/nspawn/nspawn.c,
# EXIT_FORCE_RESTART); the namespace outlives it, so firewall and policy routes are emptied as a real reboot does.
# /run/systemd/nspawn: without a tmpfs there it complains and leaves folders behind; the mount is private to this process.
_SUPERVISOR = r"""
netns=$1; shift
while [ "$1" != -- ]; do mkdir -p "$1" && echo $$ > "$1/cgroup.procs" || exit 1; shift; done
shift
mount -t tmpfs -o mode=755 tmpfs "/run/systemd/nspawn" || exit 1
while :; do
    "$@"
    status=$?
    [ "$status" = 133 ] || { echo "systemd-nspawn ended with status $status"; exit "$status"; }
    ip netns exec "$netns" nft flush ruleset
    for family in -4 -6; do
        ip -n "$netns" $family rule flush
        ip -n "$netns" $family rule add priority 32766 lookup main
    done
    ip -n "$netns" -4 rule add priority 32767 lookup default
    echo "the machine rebooted"
done
"""


def nspawn(layout: Layout, binds: Mapping[str, Path] | None = None) -> list[str]:
    """The command that boots the machine. ``binds``: path in the machine -> what of this computer is shown there, read-only."""
    shown = [f"--bind-ro={source}:{path}" for path, source in (binds or {}).items()]
    return [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={layout.tree}", f"--machine=hf-{layout.name}",
        f"--hostname={layout.name}",
        "--register=no", "--keep-unit",  # it needs neither systemd nor machined on this computer
        f"--network-namespace-path=/run/netns/{layout.netns('workstation')}",
        "--capability=CAP_NET_ADMIN",  # not implied by the option above; nft, TUN and policy routes need it
        "--system-call-filter=bpf",  # else IPAddressDeny= is ignored without a word (systemd#9513)
        "--suppress-sync=yes",  # what is thrown away need not outlive a power cut of this computer
        "--bind=/dev/net/tun", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only", *shown,
    ]  # fmt: skip


def boot(layout: Layout, nonce: str, binds: Mapping[str, Path] | None = None) -> Process:
    """Start the machine's supervisor and return at once; `wait` waits for the login. ``binds`` as in `nspawn`."""
    groups = [str(folder) for folder in cgroups.folders(layout.cgroup)]
    netns = layout.netns("workstation")
    supervisor = ["unshare", "--mount", "--propagation=slave", "sh", "-c", _SUPERVISOR, "machine"]
    argv = [*supervisor, netns, *groups, "--", *nspawn(layout, binds)]
    # A cgroup v2 tree inside, whatever this computer has; no colours in the log.
    env = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_COLORS": "0", "TERM": "dumb"}
    return start("machine", argv, nonce=nonce, log=layout.logs / "machine.log", env=env)


def wait(
    layout: Layout, process: Process, *, not_boot_id: str = "", seconds: float = BOOT_SECONDS, connect_s: int = 3
) -> str:
    """Wait until the login user can log in; returns the machine's boot id.

    ``not_boot_id``: wait until the boot id is another one. Raises HoldfastError with the machine's last words.
    """
    end = time.monotonic() + seconds
    log = layout.logs / "machine.log"
    said = ""
    while time.monotonic() < end and alive(process):
        try:
            done = ssh(layout, ["cat", "/proc/sys/kernel/random/boot_id"], fresh=True, connect_s=connect_s)
        except subprocess.TimeoutExpired:  # let in, and the session does not begin: a machine in software, still booting
            continue
        found, said = done.stdout.strip(), done.stderr.strip() or said
        if done.returncode == 0 and found != not_boot_id:
            return found
        time.sleep(0.1)
    reason = f"does not answer after {seconds:g} s" if alive(process) else "ended while it booted"
    raise HoldfastError(
        f"the lab's machine {reason}:\n  {tail(log)}\n  {said}",
        where=str(log),
        fix="./holdfast down, then ./holdfast up; the log above says what stopped it",
    )
