"""Room and uptime of the machine."""

from __future__ import annotations

from typing import Any

from holdfast.operations.remote import PythonFact


def read_room(paths: list[str]) -> Any:
    """Runs on the host: free and total bytes where each path lies (or would lie), uptime in seconds."""
    import os

    out = {}
    for path in paths:
        there = path
        while not os.path.exists(there):
            there = os.path.dirname(there)
        space = os.statvfs(there)
        out[path] = {"free": space.f_bavail * space.f_frsize, "total": space.f_blocks * space.f_frsize}
    with open("/proc/uptime") as f:
        return {"disks": out, "uptime_s": float(f.read().split()[0])}


class Room(PythonFact):
    """Room on the machine; see read_room."""

    reader = staticmethod(read_room)
