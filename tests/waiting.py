"""Waiting for what comes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], object], what: str = "it never came", seconds: float = 60) -> None:
    """Return once ``true`` says so, fail with ``what`` after ``seconds``. It is asked less and less often: machines are busy."""
    end, pause = time.monotonic() + seconds, 0.002
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(pause)
        pause = min(1.5 * pause, 0.1)
