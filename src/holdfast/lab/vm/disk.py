"""A disk made of a tree, with neither a loop device nor a mount."""

from __future__ import annotations

import shutil
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab.vm.layout import DISK_GIB, LABEL, ROOM_GIB
from holdfast.proc import run


def require_room(folder: Path) -> None:
    """Raises HoldfastError where the disk that ``folder`` is on, or will be on, has no room for a virtual machine."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**30
    if free < ROOM_GIB:
        raise HoldfastError(
            f"a virtual machine takes up to {ROOM_GIB} GiB while it is made, and {free:.1f} GiB are free", where=str(place),
            allowed=f"at least {ROOM_GIB} GiB", fix="make room there, or put the machine elsewhere: XDG_STATE_HOME=/FOLDER",
        )  # fmt: skip


def make(tree: Path, image: Path, *, env: dict[str, str], log: Path) -> None:
    """Write ``image``: ext4 with all of ``tree``, owners, links and extended attributes included. A sparse file.

    5 s for half a GiB. It appears under its name only when it is whole.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    new = image.with_suffix(".new")
    new.unlink(missing_ok=True)
    # root_owner: else the root folder belongs to whoever runs this. lazy: zeros are what a sparse file has already.
    options = ["-q", "-t", "ext4", "-L", LABEL, "-E", "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1"]
    fix = "is there room on this disk (df -h)? Then ./holdfast down, and ./holdfast up --vm"
    run(["mke2fs", *options, "-d", tree, new, f"{DISK_GIB}G"], env=env, log=log, fix=fix)
    new.replace(image)
