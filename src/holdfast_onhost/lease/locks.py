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
            path = os.path.join(self.directory, resource + ".lease")
            try:
                self.descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                fcntl.flock(self.descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                return False
            except OSError as error:
                self.release()
                raise disk(error, "open", path, self.directory) from error
        self._tell()
        return True

    def _tell(self) -> None:
        text = json.dumps({"instance": self.instance, "pid": os.getpid(), "since": time.time()})
        for resource in self.resources:
            path = os.path.join(self.directory, resource + ".holder")
            new = f"{path}.{self.instance}"
            try:
                with open(new, "w", encoding="utf-8") as file:
                    os.fchmod(file.fileno(), 0o644)
                    file.write(text)
                os.replace(new, path)
            except OSError as error:
                self.release()
                raise disk(error, "write", path, self.directory) from error

    def release(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())
