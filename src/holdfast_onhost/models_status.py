"""How far the puller is, over all files: for the journal (a line now and then) and for a waiting apply (a file)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from holdfast_onhost.fetch_progress import Report

_JOURNAL_EVERY = 30.0  # seconds between two progress lines
_FILE_EVERY = 0.5


class Status:
    """`path` holds {"state", "model", "bytes", "total", "checked", "rate", "eta", "waiting", "error", "fix", "at"}.

    `at` is CLOCK_BOOTTIME, `waiting` why nothing comes for now.  Without a path only the lines are written.
    """

    def __init__(self, path: str | None, line: Report) -> None:
        self._path, self.line = path, line
        self._values: dict[str, Any] = {"state": "running", "model": "", "bytes": 0, "total": 0, "checked": 0}
        self._before = 0  # bytes of the files that are done
        self._written = self._said = 0.0

    def checked(self, count: int) -> None:
        """So many more bytes of what is there were read, to see whether they are right."""
        self._values["checked"] += count
        if not count or time.monotonic() - self._written >= _FILE_EVERY:
            self._write()

    def begin(self, total: int) -> None:
        """`total` in bytes: all that is missing."""
        self._values["total"] = total
        self.line("begin", total=total)
        self._write()

    def file(self, model: str) -> None:
        """A file of `model` is next."""
        self._values["model"] = model

    def file_done(self, size: int) -> None:
        """It is in its place, with `size` bytes."""
        self._before += size
        self._values.update(bytes=self._before, waiting="")
        self._write()

    def report(self, event: str, **values: object) -> None:
        """What `fetch` reports about the one file in work."""
        if event == "progress":
            now = time.monotonic()
            done = self._before + int(str(values["bytes"]))
            rate = float(str(values["rate"]))
            left = round((self._values["total"] - done) / rate, 1) if rate > 0 else None
            self._values.update(bytes=done, rate=rate, eta=left, waiting="")
            if now - self._written >= _FILE_EVERY:
                self._write()
            if now - self._said >= _JOURNAL_EVERY:
                self._said = now
                self.line("progress", **{key: self._values[key] for key in ("model", "bytes", "total", "rate", "eta")})
        elif event == "check":
            self.checked(int(str(values["bytes"])))
        elif event == "start":
            self._values.update(bytes=self._before + int(str(values["bytes"])), waiting="")
            self._write()
        else:
            if event == "retry":  # nothing comes for now
                self._values.update(rate=0, eta=None, waiting=str(values["reason"]))
                self._write()
            self.line(event, **values)

    def end(self, state: str, error: str = "", fix: str = "") -> None:
        """`state` is done or failed."""
        self._values.update(state=state, error=error, fix=fix, rate=0, eta=None)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        self._values["at"] = time.clock_gettime(time.CLOCK_BOOTTIME)
        with contextlib.suppress(OSError):  # to tell how far it is must not end it
            os.makedirs(os.path.dirname(self._path) or ".", 0o755, exist_ok=True)
            with open(self._path + ".new", "w", encoding="utf-8") as file:
                json.dump(self._values, file)
            os.replace(self._path + ".new", self._path)
