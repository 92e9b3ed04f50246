"""A person's override: for a while, one instance goes first.  A file in the lease directory; it expires by itself."""

from __future__ import annotations

import contextlib
import json
import os
import time

FILE = "prefer"


def clock() -> float:
    """Seconds since boot, those asleep counted: the lease directory is gone after a boot, and so is this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(directory: str) -> tuple[str, float]:
    """The instance that goes first and the seconds left; ("", 0.0) if none does."""
    try:
        with open(os.path.join(directory, FILE), encoding="utf-8") as file:
            told = json.loads(file.read(1000))
        left = float(told["until"]) - clock()
        return (str(told["instance"]), left) if left > 0 else ("", 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0.0


def write(directory: str, instance: str, seconds: float) -> None:
    """Raises OSError.  Root writes into another user's directory: a new file, and a rename that follows no link."""
    place = os.path.join(directory, FILE)
    new = f"{place}.{os.getpid()}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        json.dump({"instance": instance, "until": clock() + seconds}, file)
    os.replace(new, place)


def forget(directory: str) -> None:
    """Raises OSError other than that there was none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, FILE))
