"""The unfinished file: what of it may be used again.

After a kill all of it, since the kernel has it.  After another boot only what was fsynced before: the rest may be
zeros.  The running SHA-256 is rebuilt by reading the file once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Callable

from holdfast_onhost.fetch_disk import CHUNK

SYNC_EVERY = 64 << 20  # bytes; what a power cut may cost


def boot_id() -> str:
    """Differs from boot to boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def unwind_on_sigterm() -> None:
    """A shutdown ends this program by an exception: what has come is made sure of before it goes on (Part.close)."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


class Part:
    """`path` is open for this process alone: a second fetch of the same file waits for the first one.

    `have` is the number of bytes on disk, `sha256` the running hash over them.
    """

    def __init__(
        self, path: str, size: int | None, again: bool, checked: Callable[[int], object] = lambda count: None
    ) -> None:
        """`checked` is told, now and then, how many more bytes of an earlier run have been read."""
        self.path, self.state = path, path + ".json"
        os.makedirs(os.path.dirname(path) or ".", 0o755, exist_ok=True)
        self._file = self._open()
        self.have = self._usable(size) if again else 0
        os.ftruncate(self._file, self.have)
        self.sha256 = hashlib.sha256()
        self._hash(checked)
        self.resumed_at = self.have
        self._synced = self.have
        self.pieced = False  # of bytes from more than one answer
        self.mark()

    def _open(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)  # the one before us finished and moved it away

    def _usable(self, size: int | None) -> int:
        have = os.fstat(self._file).st_size
        try:
            with open(self.state, encoding="ascii") as file:
                seen = json.load(file)
            boot, synced = str(seen["boot"]), int(seen["synced"])
        except (OSError, ValueError, KeyError, TypeError):
            boot, synced = "", 0
        if boot != boot_id():
            have = min(have, synced)
        return max(0, have) if size is None or have <= size else 0

    def _hash(self, checked: Callable[[int], object]) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        left = self.have
        while left:
            data = os.read(self._file, min(CHUNK, left))
            if not data:
                raise OSError(f"{self.path} is shorter than its size")
            self.sha256.update(data)
            left -= len(data)
            if left % SYNC_EVERY < len(data):
                checked(min(SYNC_EVERY, self.have - left))

    def write(self, data: bytes) -> None:
        """Appends `data`.  Raises OSError with as much of it written and counted as there was room for."""
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)  # less than asked for when the disk is about to be full
            self.sha256.update(view[:written])
            self.have += written
            view = view[written:]
        if self.have - self._synced >= SYNC_EVERY:
            self.mark()

    def mark(self) -> None:
        """Everything so far survives a power cut from here on."""
        os.fsync(self._file)
        with open(self.state + ".new", "w", encoding="ascii") as file:
            json.dump({"boot": boot_id(), "synced": self.have}, file)
        os.replace(self.state + ".new", self.state)
        self._synced = self.have

    def restart(self) -> None:
        """From byte 0."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.have = self.resumed_at = self._synced = 0
        self.sha256 = hashlib.sha256()
        self.mark()

    def forget_state(self) -> None:
        """Once the file is in its place, or away."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.state)

    def discard(self) -> None:
        """Nothing of it stays."""
        os.unlink(self.path)
        self.forget_state()

    def close(self) -> None:
        """What has come survives a reboot from here on, not only this process: a shutdown ends it with SIGTERM."""
        with contextlib.suppress(OSError):
            if self.have > self._synced and os.stat(self.path).st_ino == os.fstat(self._file).st_ino:
                self.mark()
        os.close(self._file)
