"""The leases: one file a resource, RESOURCE.lease, locked (flock) by whoever may run a llama-server on it.

The real llama-server inherits the locked descriptors: even if its supervisor is killed, a lease is free only when the
last process that used the GPU is gone.  RESOURCE.holder says who it is; that one is for people and never the truth.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence

from holdfast_onhost.lease.refusal import disk


class Leases:
    """All leases of one instance: taken together in the fixed order of the names, or none."""

    def __init__(self, directory: str, resources: Sequence[str], instance: str) -> None:
        self.directory, self.resources, self.instance = directory, tuple(sorted(resources)), instance
        self.descriptors: list[int] = []

    def take(self) -> bool:
        """True: all are ours.  False: one was not free, and none is ours.  Raises Refused.

        All or none: whoever kept some while it waits for another could wait for somebody who waits for those.
        """
        for resource in self.resources:
            path = self._path(resource)
            try:
                self.descriptors.append(_locked(path))
            except BlockingIOError:
                self.release()
                return False
            except OSError as error:
                self.release()
                raise disk(error, "open", path, self.directory) from error
        try:
            self._tell()
        except OSError as error:
            self.release()
            raise disk(error, "write", self._path(self.resources[0], ".holder"), self.directory) from error
        return True

    def _path(self, resource: str, kind: str = ".lease") -> str:
        return os.path.join(self.directory, resource + kind)

    def still_ours(self) -> bool:
        """Whether our files are those that others would lock.  False: another instance has a lease of ours, too.

        Somebody may have removed them (rm -rf, and a unit that makes the directory anew).  Who has a lease then makes and
        locks the new file at once, before others do; its llama-server has only the old one, and dies with us.
        """
        for number, resource in enumerate(self.resources):
            if same_file(self.descriptors[number], self._path(resource)):
                continue
            try:
                new = _locked(self._path(resource))
                os.close(self.descriptors[number])
                self.descriptors[number] = new
                self._tell()
            except BlockingIOError:
                return False
            except OSError:
                continue  # there is no directory, or it is full: nobody else can have it either
        return True

    def _tell(self) -> None:
        text = json.dumps({"instance": self.instance, "pid": os.getpid(), "since": time.time()})
        for resource in self.resources:
            path = self._path(resource, ".holder")
            new = f"{path}.{self.instance}"
            with open(new, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
            os.replace(new, path)

    def release(self) -> None:
        """All of them; the child must be gone by then."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def _locked(path: str) -> int:
    """A descriptor of the file at `path`, locked.  Raises BlockingIOError if another has it, and OSError."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        if same_file(fd, path):
            return fd
        os.close(fd)  # replaced between the two: nobody else would ever see this lock


def same_file(fd: int, path: str) -> bool:
    """Whether the file that is open is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
