"""The queue of each resource: a folder RESOURCE.queue with a file an instance, locked (flock) while that one waits.

The lock is the truth, so that a waiter that was killed waits no more; the content is its ticket, the time since boot in
nanoseconds.  Whoever has the lowest ticket goes first.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast_onhost.lease import preference
from holdfast_onhost.lease.locks import same_file
from holdfast_onhost.lease.refusal import disk


@dataclass(frozen=True, order=True)
class Waiter:
    """In the order in which they go: a person's preferred one first, then by ticket."""

    later: bool  # false for the preferred one
    ticket: int
    instance: str


def folder(directory: str, resource: str) -> str:
    """Where those who wait for `resource` have a file each."""
    return os.path.join(directory, resource + ".queue")


class Queue:
    """One instance's places in the queues of all its resources, with one ticket."""

    def __init__(self, directory: str, resources: Sequence[str], instance: str) -> None:
        self.directory, self.resources, self.instance = directory, tuple(resources), instance
        self.ticket = 0
        self._mine: list[int] = []

    @property
    def joined(self) -> bool:
        """Whether we are in every queue; not if somebody removed our files: then nobody would see us wait."""
        return bool(self._mine) and all(map(same_file, self._mine, map(self._path, self.resources)))

    def _path(self, resource: str) -> str:
        return os.path.join(folder(self.directory, resource), self.instance)

    def join(self) -> bool:
        """Takes a place in every queue.  False: try again soon (somebody looks at our file, or a predecessor still
        has it).  Raises Refused if the directory is full or not writable."""
        self.leave()
        ticket = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for resource in self.resources:
            path = self._path(resource)
            try:
                self._open(os.path.dirname(path), path)
                fcntl.flock(self._mine[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._mine[-1], 0)
                os.pwrite(self._mine[-1], json.dumps({"ticket": ticket, "pid": os.getpid()}).encode(), 0)
            except BlockingIOError:
                self.leave()
                return False
            except OSError as error:
                self.leave()
                raise disk(error, "write", path, self.directory) from error
        self.ticket = ticket
        return True

    def _open(self, place: str, path: str) -> None:
        try:
            os.mkdir(place)
            os.chmod(place, 0o755)  # for `holdfast-gpu`; who may not open the files cannot lock them
        except FileExistsError:
            pass
        self._mine.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def leave(self) -> None:
        """Every place that is taken; nobody waits behind it any more."""
        while self._mine:
            os.close(self._mine.pop())

    def waiting(self) -> list[Waiter]:
        """Who else waits for any of our resources, the first one first.  Raises Refused if that cannot be told."""
        preferred, _ = preference.read(self.directory)
        return sorted({w for resource in self.resources for w in self._waiting(resource, preferred)})

    def _waiting(self, resource: str, preferred: str) -> list[Waiter]:
        found = []
        place = folder(self.directory, resource)
        try:
            for name in os.listdir(place):
                if name == self.instance and self._mine:
                    continue
                ticket = live(os.path.join(place, name))
                if ticket is not None:
                    found.append(Waiter(name != preferred, ticket, name))
        except FileNotFoundError:
            return []  # nobody has ever waited
        except OSError as error:
            raise disk(error, "read", str(error.filename or place), self.directory) from error
        return found

    @property
    def preferred(self) -> bool:
        """Whether a person wants us to go first."""
        return bool(self.resources) and preference.read(self.directory)[0] == self.instance

    def my_turn(self) -> bool:
        """Whether nobody who waits for any of our resources goes before us.  Raises Refused."""
        me = Waiter(not self.preferred, self.ticket, self.instance)
        return all(me < other for other in self.waiting())


def live(path: str) -> int | None:
    """The ticket of the waiter whose file this is; None if nobody holds it.  Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            return int(json.loads(os.pread(fd, 200, 0))["ticket"])
        except (ValueError, KeyError, TypeError):
            return 0  # it has just locked it and not written yet
    finally:
        os.close(fd)
