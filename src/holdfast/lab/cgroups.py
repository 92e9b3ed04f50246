"""Control groups of the machine: its own folder in every hierarchy systemd-nspawn uses, removed with it.

On a computer with cgroup v1 *and* v2 (`/sys/fs/cgroup/unified`) systemd-nspawn makes folders in both and leaves them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast.lab.processes import kill


def hierarchies(mountinfo: str) -> list[Path]:
    """Mount points of cgroup v2 and of systemd's own v1 hierarchy in a text like /proc/self/mountinfo (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(before.split()[4]))
    return found


def folders(name: str) -> list[Path]:
    """The folders of the group ``name``, whether they exist or not."""
    return [root / name for root in hierarchies(Path("/proc/self/mountinfo").read_text())]


def members(name: str) -> list[int]:
    """The pids of all processes in the group and below."""
    found: set[int] = set()
    for folder in folders(name):
        for group in _below(folder):
            try:
                found.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
            except OSError:
                continue
    return sorted(found)


def _below(folder: Path) -> Iterator[Path]:
    """The folder and all below, parents first. A group that goes while we look (a login that ended) is passed over:
    Path.rglob raises there (FileNotFoundError, Python 3.11), os.walk does not."""
    for path, _, _ in os.walk(folder):
        yield Path(path)


def remove(name: str, seconds: float = 10) -> None:
    """Kill all members, then remove the folders. Harmless where there are none."""
    end = time.monotonic() + seconds
    while pids := members(name):
        kill(pids)
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    for folder in folders(name):
        for group in reversed(list(_below(folder))):
            _rmdir(group, end)


def _rmdir(group: Path, end: float) -> None:
    # The kernel lets go of an emptied group a moment after its last process was reaped (EBUSY until then).
    while group.is_dir():
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
