"""What this computer must have before a lab can be made; Debian and Ubuntu packages are installed after saying so."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from holdfast import depot
from holdfast.apt import ENVIRONMENT, words
from holdfast.errors import HoldfastError
from holdfast.proc import run
from holdfast.progress import QUIET, Progress

# program -> the Debian and Ubuntu package that brings it
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "slirp4netns": "slirp4netns",
    "socat": "socat",
    "ssh": "openssh-client",
    "sysctl": "procps",
    "unshare": "util-linux",
    "dpkg-deb": "dpkg",
}
# What a virtual machine needs besides.
VM_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs", "setpriv": "util-linux"}
# Brought by no program: Debian's keys (Ubuntu lacks them, and mmdebstrap would take an unsigned mirror for an error).
FILES = {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}
TUN = Path("/dev/net/tun")
MEMINFO = Path("/proc/meminfo")
LOCK_SECONDS = 300
_LOCKED = ("Could not get lock", "Unable to acquire the dpkg frontend lock", "is another process using it")


def missing(vm: bool = False) -> list[str]:
    """The packages that are needed and not there. ``vm``: for a virtual machine too."""
    programs = PROGRAMS | (VM_PROGRAMS if vm else {})
    lacking = [package for program, package in programs.items() if shutil.which(program, path=_path()) is None]
    return sorted({*lacking, *(package for file, package in FILES.items() if not Path(file).exists())})


def _path() -> str:
    # A user's PATH on Debian lacks the folders in which ip and nft may lie.
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def ensure(progress: Progress = QUIET, vm: bool = False) -> list[str]:
    """Install what is missing, for the lab and for what its depot builds, and return it. ``vm``: for a virtual machine too.

    Raises HoldfastError when not root, without apt, or without a TUN device.
    """
    if os.geteuid() != 0:
        raise HoldfastError(
            "the throw-away machine needs root on this computer (network namespaces, systemd-nspawn)",
            fix="run it as root: sudo ./holdfast up --vm" if vm else "run it as root: sudo ./holdfast up",
        )
    wanted = sorted({*missing(vm), *depot.packages_needed()})
    install(wanted, progress)
    if not TUN.exists():
        raise HoldfastError("this computer has no /dev/net/tun", fix="modprobe tun")
    return wanted


def require_memory(mib: int) -> None:
    """Raises HoldfastError where this computer has no ``mib`` MiB of memory to give to a virtual machine."""
    fields = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    # What can be had without taking it from a program, and what the programs that sleep can be moved to (proc_meminfo(5), kB).
    free = sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree")) // 1024
    if free < mib:
        raise HoldfastError(
            f"a virtual machine takes {mib} MiB of memory, and {free} MiB are free here", where=str(MEMINFO),
            allowed=f"at least {mib} MiB", fix="end what uses much (ps -eo rss,args --sort=-rss | head), then repeat; "
            "a machine that is no virtual one needs less: ./holdfast up",
        )  # fmt: skip


def install(packages: list[str], progress: Progress = QUIET) -> None:
    """Install Debian packages on this computer after saying so; needs root. Raises HoldfastError without apt, or as `apt`."""
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise HoldfastError(
            f"these programs' packages are missing: {', '.join(packages)}",
            allowed="Debian or Ubuntu, where they are installed by themselves",
            fix="install them with this system's package manager",
        )
    progress.note(f"installing on this computer with apt: {' '.join(packages)}")
    apt(["update"], progress)
    apt(["install", *packages], progress)


def apt(arguments: list[str], progress: Progress = QUIET, *, seconds: float = LOCK_SECONDS) -> None:
    """Run apt-get without questions; wait while another program holds its lock.

    Raises HoldfastError with apt's last lines, or after ``seconds`` of waiting.
    """
    env = {**os.environ, **ENVIRONMENT}
    end = time.monotonic() + seconds
    said = False
    while True:
        done = run(words(*arguments), env=env, check=False)
        if done.returncode == 0:
            return
        text = done.stderr + done.stdout
        if not any(sign in text for sign in _LOCKED):
            lines = "\n  ".join([line for line in text.splitlines() if line.strip()][-6:])
            raise HoldfastError(
                f"apt-get {arguments[0]} ended with status {done.returncode}:\n  {lines}",
                fix=f"run it by hand and mend what it says: apt-get {' '.join(arguments)}",
            )
        if time.monotonic() > end:
            raise HoldfastError(
                f"another program has held apt's lock for {seconds:g} s{_holder()}",
                fix="wait for it to end, then repeat",
            )
        if not said:
            progress.note(f"waiting for apt's lock{_holder()}")
            said = True
        time.sleep(1)


def _holder() -> str:
    """Who holds dpkg's lock, in words, as far as fuser can tell."""
    try:
        done = subprocess.run(["fuser", "/var/lib/dpkg/lock-frontend"], capture_output=True, text=True, check=False)
        pid = done.stdout.split()[0]
        return f" (held by {Path(f'/proc/{pid}/comm').read_text().strip()}, pid {pid})"
    except (OSError, IndexError):
        return ""
