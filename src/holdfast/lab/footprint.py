"""Folders and mounts that a lab makes outside its own folder: noted by the first one, undone by the last one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from holdfast.lab.layout import labs_dir

# Outermost first. `ip netns add` makes /run/netns and mounts it on itself; systemd-nspawn and ssh need the others.
SHARED = ("/etc/netns", "/run/netns", "/run/holdfast", "/run/systemd", "/run/systemd/nspawn")
OURS = ("/etc/netns", "/run/holdfast", "/run/systemd/nspawn")  # those that no other program makes by itself


def _note() -> Path:
    return labs_dir() / "footprint.json"


def claim() -> None:
    """Note which of the shared folders are not there yet, then make those that nobody else makes."""
    labs_dir().mkdir(parents=True, exist_ok=True)
    if not _note().exists():
        absent = [folder for folder in SHARED if not Path(folder).exists()]
        new = _note().with_suffix(".new")
        new.write_text(json.dumps(absent) + "\n")
        os.replace(new, _note())
    for folder in OURS:
        Path(folder).mkdir(parents=True, exist_ok=True)


def release() -> None:
    """Undo what `claim` noted, as far as it is empty. To be called when no lab is left."""
    if not _note().exists():
        return
    for folder in reversed(json.loads(_note().read_text())):
        path = Path(folder)
        if path.is_dir() and not any(path.iterdir()):
            while _mounted(folder):
                if subprocess.run(["umount", folder], capture_output=True, check=False).returncode:
                    break
            path.rmdir()
    _note().unlink()


def _mounted(folder: str) -> bool:
    """Whether something is mounted there; os.path.ismount does not see a bind mount of the same file system."""
    return any(line.split()[4] == folder for line in Path("/proc/self/mountinfo").read_text().splitlines())
