"""The depot's downloads: the workstation's own fetcher, told in the terms of this computer."""

from __future__ import annotations

import http.client
import urllib.parse
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.progress import QUIET, Progress
from holdfast_onhost import fetch_http
from holdfast_onhost.fetch import Manner, fetch
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.fetch_progress import Report

CONNECT_S = 5.0
MANNER = Manner(tries=4, headers={"User-Agent": "holdfast-depot"})

_unreachable: dict[str, str] = {}
"""Host -> why it did not answer. Asked once a run: without a network every further probe would cost its time-out."""


def probe(url: str, timeout: float = CONNECT_S) -> str:
    """Empty when the host of ``url`` answers for it, else why not. ``timeout`` in seconds, spent once a host and run."""
    host = urllib.parse.urlsplit(url).netloc
    if host in _unreachable:
        return _unreachable[host]
    try:
        answer = fetch_http.get(url, headers=MANNER.headers, timeout=timeout, method="HEAD")
        answer.close()
    except (OSError, http.client.HTTPException, FetchError) as error:
        _unreachable[host] = f"{host} cannot be reached ({error})"
        return _unreachable[host]
    return "" if answer.status < 400 else f"{host} answers {answer.status} for {url}"


def download(
    url: str, to: Path, *, size: int | None = None, sha256: str | None = None, part: Path | None = None,
    progress: Progress = QUIET, manner: Manner = MANNER,
) -> tuple[int, str]:  # fmt: skip
    """Fetch ``url`` to ``to`` and return (bytes, SHA-256); see holdfast_onhost.fetch. Raises HoldfastError.

    ``to`` appears whole and, where given, of this ``size`` (bytes) and ``sha256``, or not at all. The unfinished file is
    ``part`` (default: beside ``to``); with a hash the next run goes on from there.
    """
    unfinished = part or to.with_name(f".{to.name}.part")
    for folder in (to.parent, unfinished.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        got = fetch(url, size, sha256, str(to), part=str(unfinished), report=_shown(url, progress), manner=manner)
    except FetchError as error:
        raise HoldfastError(error.message, fix=error.fix) from error
    return to.stat().st_size, got


def _shown(url: str, progress: Progress) -> Report:
    """What the fetcher reports, as progress of one transfer."""
    label = url.rsplit("/", 1)[-1]

    def report(event: str, **values: object) -> None:
        if event in ("start", "progress"):
            total = values["total"]
            progress.bytes(int(str(values["bytes"])), None if total is None else int(str(total)), label)
        elif event in ("retry", "again"):
            progress.note(f"{label}: {values['reason']}; trying again")

    return report
