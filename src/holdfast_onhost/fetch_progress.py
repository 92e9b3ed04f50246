"""Progress as JSON, one object a line: for a person's terminal, the journal, and a waiting apply."""

from __future__ import annotations

import json
import sys
import time
from typing import Protocol


class Report(Protocol):
    """Is told how a fetch goes.  `event` is one of check, start, progress, retry, again, done, present."""

    def __call__(self, event: str, **values: object) -> None: ...


def silent(event: str, **values: object) -> None:
    """Says nothing."""


def line(event: str, **values: object) -> None:
    """One line on stdout.  A reader that has gone away ends the report, not the fetch."""
    try:
        print(json.dumps({"event": event, **values}), flush=True)
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w", encoding="ascii")  # noqa: SIM115 - until the process ends


class Meter:
    """Bytes, rate and the time that is left, at most every `every` seconds."""

    def __init__(self, report: Report, path: str, have: int, total: int | None, every: float = 1.0) -> None:
        self._report, self._path, self._total, self._every = report, path, total, every
        self._start = self._last = time.monotonic()
        self._start_bytes = have
        report("start", path=path, bytes=have, total=total)

    def update(self, have: int) -> None:
        """`have` bytes are there now."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        if have < self._start_bytes:  # from the beginning again
            self._start, self._start_bytes = now, have
            return
        rate = (have - self._start_bytes) / (now - self._start)
        left = None if self._total is None or rate <= 0 else round((self._total - have) / rate, 1)
        self._report("progress", path=self._path, bytes=have, total=self._total, rate=round(rate), eta=left)

    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._start, 2)
