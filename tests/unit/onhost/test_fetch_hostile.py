"""Servers that lie, each in its way: the right file in the end, or an error that says what was wrong; nothing else."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.clock import Clock

from holdfast_onhost import fetch_http, fetch_part
from holdfast_onhost.fetch import Manner, fetch
from holdfast_onhost.fetch_errors import FetchError, Unreachable

from .conftest import QUICK, Source
from .hostile import Hostile, Script, answer, answering

DATA = random.Random(3).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
SIZE = len(DATA)


def extent(first: int, last: int = SIZE - 1, total: object = SIZE) -> str:
    return f"bytes {first}-{last}/{total}"


def rest(at: int, most: int = SIZE) -> bytes:
    """What an honest server sends, `most` bytes of it."""
    if not at:
        return answer("200 OK", DATA[:most], Content_Length=SIZE)
    return answer("206 Partial Content", DATA[at:][:most], Content_Range=extent(at), Content_Length=SIZE - at)


def got(script: Script, target: Path, manner: Manner = QUICK, path: str = "/x") -> Hostile:
    with answering(script) as server:
        fetch(server.url + path, SIZE, SHA, str(target), manner=manner)
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return server


def refused(script: Script, target: Path, manner: Manner = QUICK) -> FetchError:
    with answering(script) as server, pytest.raises(FetchError) as caught:
        fetch(server.url + "/x", SIZE, SHA, str(target), manner=manner)
    assert not target.exists()
    assert caught.value.fix and caught.value.message.isprintable()
    return caught.value


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "file"


def test_an_honest_server_is_the_control(target: Path) -> None:
    assert got(lambda n, path, at: rest(at), target).asked == [("/x", 0)]


CURED: dict[str, Script] = {
    "closed after each 50000 bytes": lambda n, path, at: rest(at, 50_000),
    "a shorter range than asked for": lambda n, path, at: (
        answer("206 P", DATA[at : at + 99_999], Content_Range=extent(at, at + 99_998)) if at else rest(0, 99_999)
    ),
    "206 with the whole file from the start": lambda n, path, at: (
        answer("206 P", DATA, Content_Range=extent(0)) if at else rest(0, 1000)
    ),
    "200 instead of 206, from the start": lambda n, path, at: rest(0, 1000 if n == 0 else SIZE),
    "206 without Content-Range, once": lambda n, path, at: answer("206 P", b"?" * 9) if n == 1 else rest(at, 200_000),
    "206 with a Content-Range of nonsense, once": lambda n, path, at: (
        answer("206 P", b"?", Content_Range="bytes " + "9" * 5000 + "-2/3") if n == 1 else rest(at, 200_000)
    ),
    "206 that says the right range and sends other bytes": lambda n, path, at: (
        answer("206 P", DATA[: SIZE - at], Content_Range=extent(at))
        if at and n == 1
        else rest(at, 1000 if not n else SIZE)
    ),
    "416 for what is there, once": lambda n, path, at: (
        answer("416 R", Content_Range="bytes */2") if n == 1 else rest(at, 1000 if not n else SIZE)
    ),
    "total unknown": lambda n, path, at: (
        answer("206 P", DATA[at:], Content_Range=extent(at, total="*")) if at else rest(0, 1000)
    ),
    "no Content-Length": lambda n, path, at: answer(body=DATA, Content_Length=None),
    "more than the file": lambda n, path, at: answer(body=DATA + b"more", Content_Length=None),
    "no HTTP, once": lambda n, path, at: rest(at) if n else b"220 smtp.example ESMTP \x1b[2J\r\n",
    "nothing, twice": lambda n, path, at: rest(at) if n > 1 else b"",
    "chunks that end in the middle, once": lambda n, path, at: (
        rest(at) if n else answer(body=b"10000\r\n" + DATA[:9], Content_Length=None, Transfer_Encoding="chunked")
    ),
    "a wait of nonsense": lambda n, path, at: rest(at) if n else answer("429 T", Retry_After="\xb2"),
    "a length of nonsense": lambda n, path, at: answer(body=DATA, Content_Length="\xb2"),
    "said to be packed and is not": lambda n, path, at: answer(body=DATA, Content_Encoding="x-gzip"),
    "a redirect to itself, once": lambda n, path, at: answer("302 F", Location="/x?again") if n == 0 else rest(at),
    "a redirect with a space and an umlaut": lambda n, path, at: (
        rest(at) if path == "/%FC%20b" else answer("307 T", Location="/\xfc b")
    ),
}


@pytest.mark.parametrize("how", CURED)
def test_what_passes_costs_only_time(how: str, target: Path) -> None:
    got(CURED[how], target)


FINAL: dict[str, tuple[Script, str]] = {
    "another range than asked for": (
        lambda n, path, at: answer("206 P", DATA[7:], Content_Range=extent(7)) if at else rest(0, 1000),
        "asked for the bytes from 1000 on, got those from 7 on",
    ),
    "another size": (lambda n, path, at: answer(body=DATA[:-1]), "expected 300000 bytes, the server has 299999"),
    "another size on going on": (
        lambda n, path, at: answer("206 P", DATA[at:], Content_Range=extent(at, total=SIZE + 1)) if at else rest(0, 9),
        "expected 300000 bytes, the server has 300001",
    ),
    "packed": (
        lambda n, path, at: answer(body=gzip.compress(DATA), Content_Encoding="gzip"), "sent packed (gzip)"
    ),
    "packed, in chunks": (
        lambda n, path, at: answer(
            body=b"%x\r\n" % SIZE + DATA + b"\r\n0\r\n\r\n", Content_Length=None, Content_Encoding="br",
            Transfer_Encoding="chunked",
        ),
        "sent packed (br)",
    ),
    "other bytes, always": (lambda n, path, at: answer(body=DATA[::-1]), "expected sha256:"),
    "redirects in a circle": (lambda n, path, at: answer("302 F", Location="/x"), "more than 5 redirects"),
    "redirects that go on and on": (lambda n, path, at: answer("302 F", Location=f"/{n}"), "more than 5 redirects"),
    "a redirect to nowhere": (lambda n, path, at: answer("302 F"), "more than 5 redirects"),
    "a redirect to a file": (lambda n, path, at: answer("302 F", Location="file:///etc/passwd"), "redirect to file:///etc"),
    "a redirect to another kind": (lambda n, path, at: answer("302 F", Location="httpx://a/"), "redirect to httpx:"),
    "a redirect to no address": (lambda n, path, at: answer("302 F", Location="http://[::1/"), "a redirect to http://[::1/"),
    "a redirect to no port": (lambda n, path, at: answer("302 F", Location="http://h:99999/"), "h:99999"),
    "a redirect to no host's name": (lambda n, path, at: answer("302 F", Location="http://a..b/"), "a..b"),
    "an error that draws on a terminal": (
        lambda n, path, at: answer("403 F", b"\x1b]0;x\x07 no\nFix: rm -rf /"), "HTTP 403 "
    ),
    "not modified": (lambda n, path, at: answer("304 N"), "HTTP 304"),
}  # fmt: skip


@pytest.mark.parametrize("how", FINAL)
def test_what_does_not_pass_is_told(how: str, target: Path) -> None:
    script, words = FINAL[how]
    error = refused(script, target)
    assert words in error.message and not isinstance(error, Unreachable)


LASTING: dict[str, tuple[Script, str]] = {
    "500 for ever": (lambda n, path, at: answer("500 I", b"out of order"), "HTTP 500 out of order (4 tries"),
    "206 that never says which": (lambda n, path, at: answer("206 P", DATA), "206 with Content-Range None"),
    "416 for ever": (lambda n, path, at: answer("416 R") if at else rest(0, 1000), "4 tries"),
    "it ignores ranges and never gets done": (lambda n, path, at: rest(0, 200_000), "200000 of 300000 bytes (4 tries"),
    "headers without an end": (lambda n, path, at: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "100 headers"),
}


@pytest.mark.parametrize("how", LASTING)
def test_what_lasts_is_for_later(how: str, target: Path) -> None:
    script, words = LASTING[how]
    error = refused(script, target)
    assert words in error.message and isinstance(error, Unreachable)


def test_connections_that_end_after_a_few_bytes_are_as_slow_as_drips(target: Path) -> None:
    """Each brings something new, and nobody can wait for the rest."""
    script: Script = lambda n, path, at: rest(at, 3_000)  # noqa: E731
    error = refused(script, target, replace(QUICK, least=1e9))
    assert isinstance(error, Unreachable) and "4 tries too slow" in error.message
    server = got(script, target, replace(QUICK, least=0.0, pause=0.0))  # the control: as long as it takes
    assert len(server.asked) > 90 and server.asked[0] == ("/x", 12_000)


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/y", "//127.0.0.1:9/y"])
def test_never_from_https_to_http(to: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the server is plain here: what counts is what the addresses say."""
    plain = fetch_http._connection
    monkeypatch.setattr(
        fetch_http, "_connection", lambda url, timeout: plain("http" + url.removeprefix("https"), timeout)
    )
    with answering(lambda n, path, at: answer("302 F", Location=to)) as server:
        url = server.url.replace("http:", "https:") + "/x"
        with pytest.raises(FetchError) as caught:
            fetch(url, SIZE, SHA, str(target), manner=QUICK)
    refusal = f"refused to follow a redirect to {to}" in caught.value.message
    assert refusal == to.startswith("http:"), "what stays https is followed"


def test_no_bytes_are_asked_of_nobody(target: Path) -> None:
    with answering(lambda n, path, at: b"") as server:
        fetch(server.url, 0, hashlib.sha256().hexdigest(), str(target), manner=QUICK)
        assert target.read_bytes() == b""
        target.unlink()
        with pytest.raises(FetchError, match="expected sha256:"):
            fetch(server.url, 0, SHA, str(target), manner=QUICK)
        assert server.asked == [] and not target.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_broken_disk_is_no_reason_to_ask_again(
    number: int, source: Source, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fetch_part.os, "write", write)
        with pytest.raises(FetchError, match=os.strerror(number)) as caught:
            fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert not isinstance(caught.value, Unreachable) and str(target.parent) in caught.value.fix
    assert len(source.behaviour.requests) == 1
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_only_a_file_is_copied(make: Callable[[Path], None], target: Path, tmp_path: Path) -> None:
    make(tmp_path / "odd")
    with pytest.raises(FetchError, match=r"no regular file|Is a directory"):
        fetch(f"file://{tmp_path}/odd", None, None, str(target), manner=QUICK)


def test_what_came_survives_a_shutdown(source: Source, target: Path) -> None:
    """After another boot only what was made sure of counts: the end of a run makes sure of all that it has."""
    source.behaviour.drop_after = 500_000
    source.behaviour.blob_statuses = [200, 404]
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    state = target.with_name("file.part.json")
    assert '"synced": 500000' in state.read_text()
    state.write_text(state.read_text().replace(fetch_part.boot_id(), "another"))
    source.behaviour.drop_after = 0
    del source.behaviour.requests[:]
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert [line.split()[2] for line in source.behaviour.requests] == [f"bytes=500000-{len(source.data) - 1}"]


@pytest.mark.parametrize("limit", [0.0, 100_000.0])
def test_a_limit_is_kept(limit: float, source: Source, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("holdfast_onhost.fetch.time", clock)
    source.behaviour.drop_after = 600_000
    fetch(
        source.url,
        len(source.data),
        source.sha256,
        str(target),
        manner=replace(QUICK, limit=limit, pause=0.0, least=0.0),
    )
    assert clock.now == pytest.approx(len(source.data) / limit if limit else 0.0)
