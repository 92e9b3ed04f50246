"""A file by URL, checked by size and SHA-256 while it streams; nothing unchecked ever stands under its name."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.progress import QUIET, Progress

CHUNK = 1 << 20
CONNECT_S = 5.0
STALL_S = 30.0
TRIES = 4
AGENT = "holdfast-depot"
OURS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
"""Failures of this computer's disk, which no further try cures."""

_unreachable: dict[str, str] = {}
"""Host -> why it did not answer. Asked once a run: without a network every further probe would cost its time-out."""


def probe(url: str, timeout: float = CONNECT_S) -> str:
    """Empty when the host of ``url`` answers for it, else why not. ``timeout`` in seconds, spent once a host and run."""
    host = urllib.parse.urlsplit(url).netloc
    if host in _unreachable:
        return _unreachable[host]
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": AGENT})
        with urllib.request.urlopen(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError as e:
        return f"{host} answers {e.code} {e.reason} for {url}"
    except (OSError, http.client.HTTPException) as e:
        _unreachable[host] = f"{host} cannot be reached ({getattr(e, 'reason', e)})"
        return _unreachable[host]


def forget() -> None:
    """Forget which hosts did not answer (a new run)."""
    _unreachable.clear()


class _Transfer:
    """One file on its way: what has come and its hash so far; goes on where a broken connection left it."""

    def __init__(self, url: str, to: Path, limit: int | None, stall: float, progress: Progress) -> None:
        self.url, self.to, self.limit, self.stall, self.progress = url, to, limit, stall, progress
        self.hash, self.done = hashlib.sha256(), 0

    def attempt(self) -> None:
        headers = {"User-Agent": AGENT} | ({"Range": f"bytes={self.done}-"} if self.done else {})
        request = urllib.request.Request(self.url, headers=headers)
        with urllib.request.urlopen(request, timeout=self.stall) as answer, self.to.open("ab") as out:
            resumed = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(
                f"bytes {self.done}-"
            )
            if self.done and not resumed:  # a server that knows no ranges sends the whole file again
                out.truncate(0)
                self.hash, self.done = hashlib.sha256(), 0
            length = answer.headers.get("Content-Length")
            total = self.done + int(length) if length else None
            while piece := answer.read1(CHUNK):
                self.done += len(piece)
                if self.limit is not None and self.done > self.limit:
                    return
                out.write(piece)
                self.hash.update(piece)
                self.progress.bytes(self.done, self.limit or total, self.url.rsplit("/", 1)[-1])
            if total is not None and self.done < total:
                raise http.client.IncompleteRead(b"", total - self.done)


def download(
    url: str,
    to: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress = QUIET,
    stall: float = STALL_S,
    pause: float = 0.5,
) -> tuple[int, str]:
    """Fetch ``url`` to ``to`` and return (bytes, SHA-256).

    The bytes go to a temporary file beside ``to`` that is renamed when it is whole and, where given, of this ``size``
    (bytes) and ``sha256``; on any failure nothing stays. A connection that breaks, or is silent for ``stall`` seconds,
    is taken up again from the last byte; after four in a row that brought nothing HoldfastError is raised (``pause``
    seconds, growing, lie between).
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    transfer = _Transfer(url, part, size, stall, progress)
    try:
        _transfer(transfer, pause)
        _check(url, transfer.done, transfer.hash.hexdigest(), size, sha256)
        part.chmod(0o644)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return transfer.done, transfer.hash.hexdigest()


def _transfer(transfer: _Transfer, pause: float) -> None:
    failures, before = 0, -1
    while True:
        try:
            return transfer.attempt()
        except urllib.error.HTTPError as e:
            reason, permanent = f"HTTP {e.code} {e.reason}", e.code < 500 and e.code not in (408, 429)
        except (OSError, http.client.HTTPException) as e:
            permanent = getattr(e, "errno", None) in OURS
            reason = str(getattr(e, "reason", e)) or type(e).__name__
        failures = 1 if transfer.done > before else failures + 1
        before = max(before, transfer.done)
        if permanent or failures >= TRIES:
            raise HoldfastError(
                f"{reason} after {transfer.done} bytes",
                where=transfer.url,
                fix="try again when the server can be reached",
            )
        time.sleep(pause * 2 ** (failures - 1))


def _check(url: str, got_size: int, got: str, size: int | None, sha256: str | None) -> None:
    fix = "do not use this file; if the vendor replaced it, look into why before ./holdfast depot update"
    if size is not None and got_size != size:
        came = "more" if got_size > size else f"{got_size}"
        raise HoldfastError(f"wrong size: expected {size} bytes, got {came}", where=url, fix=fix)
    if sha256 is not None and got != sha256:
        raise HoldfastError(f"wrong hash: expected sha256:{sha256}, got sha256:{got}", where=url, fix=fix)
