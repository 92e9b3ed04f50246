"""The depot's downloads: the same fetcher as on the workstation (tests/unit/onhost), told in this computer's terms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from holdfast.depot import download as module
from holdfast.depot.download import MANNER, download, probe
from holdfast.errors import HoldfastError
from holdfast.progress import Quiet
from holdfast_onhost import fetch_http

QUICK = dataclasses.replace(MANNER, pause=0.001, stall=0.1)


class Seen(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.transfers: list[tuple[int, int | None, str]] = []
        self.notes: list[str] = []

    def bytes(self, done: int, total: int | None, label: str) -> None:
        self.transfers.append((done, total, label))

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_whole_file_is_checked_and_named(vendor, tmp_path: Path) -> None:
    to, seen = tmp_path / "sub" / "file", Seen()
    assert download(f"{vendor.url}/x", to, size=len(vendor.body), sha256=vendor.sha, progress=seen) == (
        len(vendor.body),
        vendor.sha,
    )
    assert to.read_bytes() == vendor.body
    assert [p.name for p in to.parent.iterdir()] == ["file"]
    assert seen.transfers[0] == (0, len(vendor.body), "x")


def test_unknown_size_and_hash_are_found_out(vendor, tmp_path: Path) -> None:
    assert download(vendor.url, tmp_path / "file") == (len(vendor.body), vendor.sha)


def test_mismatch_names_expected_got_and_url_and_leaves_nothing(vendor, tmp_path: Path) -> None:
    wanted = "0" * 64
    with pytest.raises(HoldfastError) as e:
        download(f"{vendor.url}/x", tmp_path / "file", size=len(vendor.body), sha256=wanted)
    text = e.value.render()
    assert wanted in text and vendor.sha in text and f"{vendor.url}/x" in text and "Fix: " in text
    assert list(tmp_path.iterdir()) == []


def test_mismatch_keeps_the_good_file_that_was_there(vendor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("good")
    with pytest.raises(HoldfastError):
        download(vendor.url, tmp_path / "file", sha256="0" * 64)
    assert (tmp_path / "file").read_text() == "good"


def test_broken_connection_is_resumed_and_told(vendor, tmp_path: Path) -> None:
    vendor.cuts, seen = 2, Seen()
    download(vendor.url, tmp_path / "file", size=len(vendor.body), sha256=vendor.sha, progress=seen, manner=QUICK)
    assert (tmp_path / "file").read_bytes() == vendor.body
    assert len(seen.notes) == 2 and "trying again" in seen.notes[0]


def test_the_next_run_goes_on_with_the_unfinished_file(vendor, tmp_path: Path) -> None:
    part, half = tmp_path / "parts" / vendor.sha, len(vendor.body) // 2
    vendor.cuts = 99
    once = dataclasses.replace(QUICK, tries=1)
    with pytest.raises(HoldfastError, match="connection"):
        download(vendor.url, tmp_path / "file", size=len(vendor.body), sha256=vendor.sha, part=part, manner=once)
    kept = part.stat().st_size
    assert kept >= half
    vendor.cuts = 0
    download(vendor.url, tmp_path / "file", size=len(vendor.body), sha256=vendor.sha, part=part, manner=once)
    assert vendor.asked[-1] == f"GET bytes={kept}-{len(vendor.body) - 1}"
    assert not part.exists()


def test_connection_that_always_breaks_ends(vendor, tmp_path: Path) -> None:
    vendor.cuts, vendor.ranges = 99, False
    with pytest.raises(HoldfastError) as e:
        download(vendor.url, tmp_path / "file", manner=QUICK)
    assert vendor.url in e.value.render()
    assert len(vendor.asked) == QUICK.tries


def test_not_found_is_not_tried_again(vendor, tmp_path: Path) -> None:
    vendor.status = 404
    with pytest.raises(HoldfastError, match="404"):
        download(vendor.url, tmp_path / "file", manner=QUICK)
    assert vendor.asked == ["GET"]


def test_probe_asks_an_unreachable_host_once(vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(url, **more):
        calls.append(url)
        raise OSError("no route")

    assert probe(vendor.url) == ""
    assert vendor.asked == ["HEAD"]
    monkeypatch.setattr(fetch_http, "get", refuse)
    module._unreachable.clear()
    first, second = probe("http://vendor.invalid/a"), probe("http://vendor.invalid/b")
    assert "vendor.invalid" in first and first == second
    assert calls == ["http://vendor.invalid/a"]
    probe("http://elsewhere.invalid/")
    assert len(calls) == 2


def test_probe_says_what_the_server_answered(vendor) -> None:
    vendor.status = 403
    assert "403" in probe(vendor.url)
