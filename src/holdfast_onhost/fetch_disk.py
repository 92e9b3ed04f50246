"""Files that are whole or absent, also after a power cut; and room for them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from typing import BinaryIO

from holdfast_onhost.fetch_errors import FetchError

CHUNK = 1 << 20  # bytes that are read or written at once
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def sha256_of(file: BinaryIO, told: Callable[[int], object] = lambda count: None) -> str:
    """In hex, of what `file` has from where it stands; `told` hears of each so many bytes.  Raises OSError."""
    running = hashlib.sha256()
    while data := file.read(CHUNK):
        running.update(data)
        told(len(data))
    return running.hexdigest()


def sync_folder(path: str) -> None:
    """A rename survives a power cut only once its folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place(temporary: str, path: str, mode: int = 0o644) -> None:
    """Moves a finished file to where others see it.  Content first, then the name."""
    os.chmod(temporary, mode)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, 0o755, exist_ok=True)
    os.replace(temporary, path)
    sync_folder(folder)


def free_bytes(folder: str) -> int:
    """What an ordinary user may still write on the file system of `folder`."""
    return shutil.disk_usage(folder).free


def require_room(needed: int, folder: str, what: str) -> None:
    """Raises before the first byte is written if `needed` bytes do not fit."""
    free = free_bytes(folder)
    if needed > free:
        raise FetchError(
            f"{what}: {needed} bytes are needed in {folder}, {free} are free ({needed - free} too few)",
            f"make room on the file system of {folder} (df -h {folder}), or move it to a larger one",
        )


def about_disk(error: Exception, path: str, needed: int) -> FetchError | None:
    """The error to show if `error` comes from our own disk and not from the network; else None."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    return FetchError(
        f"{path}: {error.strerror}; {needed} bytes are still needed",
        "make room or make it writable, then run the same again: what is there is used again",
    )
