#!/usr/bin/python3
"""fetch.py URL SIZE SHA256 PATH: the file at URL lands at PATH whole and checked, or not at all.

SIZE is in bytes, or '-' if unknown.  URL is http://, https:// or file://.  A kill or a power cut costs little: the next
run goes on where this one was.  Progress: JSON lines on stdout.  Exit codes: 0 done, 1 failed, 2 wrong usage, 75 the
other side was not to be had (try later).
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import sys
import time
from dataclasses import dataclass, field

if __package__ in (None, ""):  # run by its path: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from holdfast_onhost import fetch_disk, fetch_http, fetch_part, fetch_progress
from holdfast_onhost.fetch_disk import CHUNK
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.fetch_part import Part


@dataclass(frozen=True)
class Manner:
    """How patiently and how fast; times in seconds."""

    stall: float = 30.0  # without a byte, until the connection is given up
    least: float = 1024.0  # bytes per second, …
    window: float = 60.0  # … over so many seconds of waiting for them, or the connection is given up; least 0: any
    tries: int = 8  # in a row without a new byte, or too slow
    pause: float = 0.5  # before the second try; doubles up to 30
    limit: float = 0.0  # bytes per second; 0: no limit
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def pace(self) -> fetch_http.Pace:
        """For one answer."""
        return fetch_http.Pace(self.least, self.window)

    def rest(self, failures: int, asked: float = 0.0) -> float:
        """Seconds before the next try after so many `failures` in a row; `asked`: what the server wishes."""
        return max(asked, min(30.0, self.pause * 2.0 ** (failures - 1)))


def fetch(url: str, size: int | None, sha256: str | None, path: str, *, part: str | None = None,
          report: fetch_progress.Report = fetch_progress.silent, manner: "Manner | None" = None) -> str:  # fmt: skip
    """Puts the file at `url` at `path`; returns its SHA-256 in hex.

    `size` in bytes and `sha256` in hex are what it must be (None: unknown; without a hash nothing is
    resumed over runs).
    `part` is where the unfinished file lies, on the same file system (default: PATH.part).  Raises FetchError.
    """
    manner = manner or Manner()
    if sha256 is not None and _is_there(path, size, sha256):
        report("present", path=path, sha256=sha256)
        return sha256
    part = part or path + ".part"
    got = _once(url, size, sha256, path, part, report, manner, again=sha256 is not None)
    if got is None:
        report("again", url=url, reason="it came in pieces, and together they are wrong")
        got = _once(url, size, sha256, path, part, report, manner, again=False)
    assert got is not None  # only a file in pieces is given a second chance
    return got


def _is_there(path: str, size: int | None, sha256: str) -> bool:
    try:
        with open(path, "rb") as file:
            if size is not None and os.fstat(file.fileno()).st_size != size:
                return False
            return fetch_disk.sha256_of(file) == sha256
    except OSError:
        return False


def _once(url: str, size: int | None, sha256: str | None, path: str, part_path: str,
          report: fetch_progress.Report, manner: Manner, again: bool) -> str | None:  # fmt: skip
    """One download with its retries.  None: the digest is wrong, but the file came in pieces, and only if `again`."""
    try:
        part = Part(part_path, size, again, lambda count: report("check", bytes=count))
    except OSError as error:
        full = fetch_disk.about_disk(error, part_path, size or 0)
        raise full or FetchError(f"{part_path}: {error.strerror}", _folder(part_path)) from error
    try:
        if size is not None:
            fetch_disk.require_room(size - part.have, os.path.dirname(part_path) or ".", path)
        meter = fetch_progress.Meter(report, path, part.have, size)
        _fill(url, size, part, meter, report, manner)
        got = part.sha256.hexdigest()
        if sha256 is not None and got != sha256:
            part.discard()
            if again and (part.resumed_at or part.pieced):
                return None
            raise FetchError(
                f"{url}: expected sha256:{sha256}, got sha256:{got} ({part.have} bytes)",
                "nothing of it was kept; if the file was changed on purpose, move its pin, else distrust that source",
            )
        fetch_disk.place(part_path, path)
        part.forget_state()
        report("done", path=path, sha256=got, bytes=part.have, resumed_at=part.resumed_at, seconds=meter.seconds())
        return got
    except OSError as error:
        raise fetch_disk.about_disk(error, part_path, (size or part.have) - part.have) or FetchError(
            f"{path}: {error.strerror or error}", _folder(path)
        ) from error
    finally:
        part.close()


def _folder(path: str) -> str:
    return f"look at {os.path.dirname(path) or '.'}: it must be there, writable, and on a sound disk (ls -ld, dmesg)"


def _fill(url: str, size: int | None, part: Part, meter: fetch_progress.Meter, report: fetch_progress.Report,
          manner: Manner) -> None:  # fmt: skip
    """Asks until the file is complete, or `manner.tries` times in a row without a new byte or too slowly."""
    failures, best, since = 0, part.have, time.monotonic()
    while size is None or part.have < size:
        wait = 0.0
        try:
            last = _last(size, part.have)
            answer = fetch_http.get(url, part.have, last, manner.headers, manner.stall, pace=manner.pace)
            try:
                wait = answer.retry_after
                _take(answer, url, size, part, meter, manner)
                return
            finally:
                answer.close()
        except (OSError, http.client.HTTPException) as error:
            # A connection that ends after a few bytes, again and again, is as slow as one that drips.
            least = max(1.0, manner.least * (time.monotonic() - since))
            slow = isinstance(error, fetch_http.TooSlow) or part.have - best < least
            failures = failures + 1 if slow else 1
            best, since = max(best, part.have), time.monotonic()
            reason = str(error) or type(error).__name__
            if failures >= manner.tries:
                raise Unreachable(
                    f"{url}: {reason} ({failures} tries too slow or without a new byte; kept: {part.have} of {size or '?'})",
                    "check this machine's network and that address, then run the same again: it goes on from there",
                ) from error
            wait = manner.rest(failures, wait)
            report("retry", url=url, reason=reason, bytes=part.have, in_seconds=wait)
            time.sleep(wait)


def _last(size: int | None, have: int) -> int | None:
    """The last byte to ask for: a closed range, which every server and cache understands alike; none from the start."""
    return size - 1 if size is not None and have else None


def _take(answer: fetch_http.Answer, url: str, size: int | None, part: Part, meter: fetch_progress.Meter,
          manner: Manner) -> None:  # fmt: skip
    """Writes what `answer` brings, to the file's end.  Raises OSError for what another try may cure, FetchError for what none
    will."""
    if not _starts(answer, url, size, part):
        return
    part.pieced = answer.start > 0
    end = size if size is not None else answer.total
    begin, taken = time.monotonic(), 0
    most = min(CHUNK, max(4096, int(manner.limit / 2))) if manner.limit else CHUNK  # no bursts, no long silences
    while end is None or part.have < end:
        data = answer.read(most if end is None else min(most, end - part.have))
        if not data:
            break
        _keep(part, data, size or 0)
        taken += len(data)
        meter.update(part.have)
        if manner.limit and (ahead := taken / manner.limit - (time.monotonic() - begin)) > 0:
            time.sleep(ahead)
    if end is not None and part.have < end:
        raise OSError(f"the connection ended after {part.have} of {end} bytes")


def _starts(answer: fetch_http.Answer, url: str, size: int | None, part: Part) -> bool:
    """Whether the body of `answer` goes on where `part` ends.  False: nothing is left to come.  Raises as _take does."""
    status = answer.status
    if answer.busy or (status in (401, 403) and answer.redirected):
        raise OSError(f"HTTP {status} {answer.excerpt()}".strip())
    if status == 416 and part.have:
        if answer.total == part.have:
            return False  # complete, but the run before ended between its last byte and the rename
        part.restart()
        raise OSError("the file there is shorter than what is kept here")
    if status not in (200, 206):
        gone = "the address is wrong or the file is gone: check the pin"
        fix = (
            gone
            if status in (404, 410)
            else "the server does not give it to this machine: check the address and its rules"
        )
        raise FetchError(f"{url}: HTTP {status} {answer.excerpt()}".strip(), fix)
    if size is not None and answer.encoding and answer.total != size:
        raise answer.packed(url)
    if size is not None and answer.total is not None and answer.total != size:
        raise FetchError(f"{url}: expected {size} bytes, the server has {answer.total}", "check the pin and its source")
    if answer.start != part.have:
        if answer.start:
            raise FetchError(
                f"{url}: asked for the bytes from {part.have} on, got those from {answer.start} on",
                f"a server or cache on the way is broken: go around it, or remove {part.path} to begin anew",
            )
        part.restart()  # the server ignores ranges
    return True


def _keep(part: Part, data: bytes, size: int) -> None:
    """Our own disk's errors are no reason to ask the network again."""
    try:
        part.write(data)
    except OSError as error:
        full = fetch_disk.about_disk(error, part.path, size - part.have)
        raise full or FetchError(f"{part.path}: {error.strerror}", _folder(part.path)) from error


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="fetch.py", description=__doc__, formatter_class=raw)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("size", metavar="SIZE")
    parser.add_argument("sha256", metavar="SHA256")
    parser.add_argument("path", metavar="PATH")
    given = parser.parse_args(arguments)
    if given.size != "-" and not re.fullmatch(r"[0-9]+", given.size):
        parser.error(f"SIZE is a number of bytes or '-', not {given.size!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", given.sha256):
        parser.error(f"SHA256 is 64 lower-case hex digits, not {given.sha256!r}")
    size = None if given.size == "-" else int(given.size)
    os.umask(0o022)
    try:
        fetch(given.url, size, given.sha256, given.path, report=fetch_progress.line)
    except FetchError as error:
        print(error.render(), file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    fetch_part.unwind_on_sigterm()
    sys.exit(main())
