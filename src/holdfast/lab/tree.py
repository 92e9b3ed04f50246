"""The Debian trees that workstations are copied from: made once per release and recipe, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab.layout import RELEASES
from holdfast.paths import cache_dir
from holdfast.proc import run
from holdfast.progress import QUIET, Progress

RECIPE = 1  # raise it when make() changes what is in a tree
# What a Debian server has after an installation with "SSH server" ticked, and no more: all else is the deploy's work.
PACKAGES = (
    "ca-certificates", "curl", "dbus", "init", "iproute2", "iputils-ping", "libpam-systemd", "netbase", "openssh-server",
    "procps", "python3", "sudo", "systemd", "systemd-resolved", "systemd-sysv", "udev",
)  # fmt: skip


def trees_dir() -> Path:
    return cache_dir() / "trees"


def cached(release: str, more: Sequence[str] = ()) -> Path:
    """Where the tree of a release, with ``more`` packages, lies or will lie; the key changes with them and the recipe."""
    key = hashlib.sha256(f"{RECIPE} {release} {' '.join(sorted([*PACKAGES, *more]))}".encode()).hexdigest()[:12]
    return trees_dir() / f"{release}-{key}"


def base(release: str, *, env: dict[str, str], log: Path, progress: Progress = QUIET, more: Sequence[str] = ()) -> Path:
    """The tree of ``release``, with ``more`` packages, made with mmdebstrap where it is missing (about two minutes, 350 MB).

    It appears under its name only when it is whole. Raises HoldfastError for an unknown release or when mmdebstrap fails.
    """
    if release not in RELEASES:
        raise HoldfastError(f"unknown release {release!r}", allowed=", ".join(RELEASES), fix="choose one of these")
    wanted = cached(release, more)
    if wanted.is_dir():
        return wanted
    trees_dir().mkdir(parents=True, exist_ok=True)
    sweep()
    progress.note(f"making a Debian {release} tree (once, about 2 minutes)")
    making = trees_dir() / f".making-{wanted.name}"
    # In namespaces of its own: mmdebstrap mounts /proc and /dev in the tree, and a killed one would leave these mounts and
    # its children; so they end with it (unshare(1), --kill-child).
    alone = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL"]
    options = ["--quiet", "--mode=root", "--variant=minbase", f"--include={','.join([*PACKAGES, *more])}"]
    languages = '--aptopt=Acquire::Languages "none"'
    run(
        [*alone, "mmdebstrap", *options, languages, release, making],
        env=env,
        log=log,
        fix="check that this computer reaches a Debian mirror",
    )
    for key in (making / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # every lab gets a key of its own
    os.replace(making, wanted)
    return wanted


def sweep() -> None:
    """Remove trees that were never finished. Only the holder of the labs' lock may call this."""
    for unfinished in trees_dir().glob(".making-*"):
        refuse_mounts(unfinished)
        shutil.rmtree(unfinished)


def refuse_mounts(folder: Path) -> None:
    """Raise HoldfastError where something is mounted below ``folder``: deleting it would delete what is mounted."""
    below = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [mount for mount in below if Path(mount).is_relative_to(folder)]
    if found:
        raise HoldfastError(f"{found[0]} is a mount point", where=str(folder), fix=f"umount {' '.join(found)}")
