"""Room on the machine."""

from __future__ import annotations

from typing import Any

from holdfast.operations.remote import PythonFact


def read_room(paths: list[str]) -> Any:
    """Runs on the host: free and total bytes where each path lies (or would lie)."""
    import os

    out = {}
    for path in paths:
        there = path
        while not os.path.exists(there):
            there = os.path.dirname(there)
        space = os.statvfs(there)
        out[path] = {"free": space.f_bavail * space.f_frsize, "total": space.f_blocks * space.f_frsize}
    return {"disks": out}


class Room(PythonFact):
    """Room on the machine; see read_room."""

    reader = staticmethod(read_room)
