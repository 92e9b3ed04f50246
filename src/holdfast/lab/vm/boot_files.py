"""The boot loader's part: which kernel and initrd a disk would boot, read from its ext4 without mounting it.

As GRUB does on Debian: the newest kernel in /boot, with the initrd of the same version if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.proc import run
from holdfast.versions import version_key

ENDED = "./holdfast down, then ./holdfast up --vm (another disk)"


# What dpkg, kbuild and people leave beside a kernel; the NVIDIA component's reader passes over the same.
_LEFT_OVER = re.compile(r"\.(old|bak|dpkg-\w+|signed|unsigned)$")


@dataclass(frozen=True)
class BootFiles:
    """``release``: the kernel's. ``initrd`` is None where the disk has none of this version."""

    release: str
    kernel: Path
    initrd: Path | None


def newest(names: Iterable[str]) -> str:
    """The newest release among file names such as vmlinuz-6.12.117-cloud-amd64; "" without any."""
    releases = [name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-")]
    return max((r for r in releases if not _LEFT_OVER.search(r)), key=version_key, default="")


def repair(disk: Path) -> None:
    """Replay the journal and mend what a power cut has left, as the initrd's fsck would. Raises where that is not possible."""
    done = run(["e2fsck", "-p", disk], check=False, fix=ENDED)
    if done.returncode not in (0, 1):
        fix = f"e2fsck {disk} asks before it mends, then ./holdfast up --vm; or begin anew: {ENDED}"
        raise HoldfastError(f"the disk cannot be mended: {done.stdout}{done.stderr}", where=str(disk), fix=fix)


def extract(disk: Path, folder: Path) -> BootFiles:
    """Copy the kernel and initrd that boot next out of ``disk`` into ``folder``. Raises where there is no kernel."""
    # Lines of /INODE/MODE/UID/GID/NAME/SIZE/ (debugfs(8), ls -p).
    listing, said = _debugfs(disk, "ls -p /boot")
    names = {fields[5] for line in listing.splitlines() if len(fields := line.split("/")) > 6}
    release = newest(names)
    if not release:
        raise HoldfastError(f"the disk has no kernel in /boot{said}", where=str(disk), fix=ENDED)
    files = BootFiles(release, folder / "vmlinuz", folder / "initrd" if f"initrd.img-{release}" in names else None)
    _dump(disk, f"/boot/vmlinuz-{release}", files.kernel)
    if files.initrd:
        _dump(disk, f"/boot/initrd.img-{release}", files.initrd)
    return files


def _dump(disk: Path, source: str, target: Path) -> None:
    target.unlink(missing_ok=True)
    _, said = _debugfs(disk, f'dump {source} "{target}"')
    if not target.is_file() or not target.stat().st_size:
        raise HoldfastError(f"{source} cannot be read{said}", where=str(disk), fix=ENDED)


def _debugfs(disk: Path, request: str) -> tuple[str, str]:
    """What it prints, and ": " with its complaint. Its status is 0 whatever happens, its first words are its version."""
    done = run(["debugfs", "-R", request, disk], fix=ENDED)
    said = "; ".join(line for line in done.stderr.splitlines() if line.strip() and not line.startswith("debugfs "))
    return done.stdout, f": {said}" if said else ""
