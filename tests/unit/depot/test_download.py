from __future__ import annotations

import resource
import urllib.request
from pathlib import Path

import pytest

from holdfast.depot import download as module
from holdfast.depot.download import download, probe
from holdfast.errors import HoldfastError


def test_whole_file_is_checked_and_named(vendor, tmp_path: Path) -> None:
    to = tmp_path / "sub" / "file"
    assert download(vendor.url, to, size=len(vendor.body), sha256=vendor.sha) == (len(vendor.body), vendor.sha)
    assert to.read_bytes() == vendor.body
    assert [p.name for p in to.parent.iterdir()] == ["file"]


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


@pytest.mark.parametrize("offset", [-1, 1], ids=["longer than pinned", "shorter than pinned"])
def test_wrong_size(vendor, tmp_path: Path, offset: int) -> None:
    with pytest.raises(HoldfastError, match="wrong size"):
        download(vendor.url, tmp_path / "file", size=len(vendor.body) + offset)
    assert list(tmp_path.iterdir()) == []


def test_broken_connection_is_resumed_from_the_last_byte(vendor, tmp_path: Path) -> None:
    vendor.cuts = 2
    download(vendor.url, tmp_path / "file", size=len(vendor.body), sha256=vendor.sha, pause=0)
    half = len(vendor.body) // 2
    assert vendor.asked == ["GET", f"GET bytes={half}-", f"GET bytes={half + half // 2}-"]


def test_server_without_ranges_starts_again(vendor, tmp_path: Path) -> None:
    vendor.cuts, vendor.ranges = 1, False
    download(vendor.url, tmp_path / "file", size=len(vendor.body), sha256=vendor.sha, pause=0)
    assert (tmp_path / "file").read_bytes() == vendor.body


def test_connection_that_always_breaks_ends(vendor, tmp_path: Path) -> None:
    vendor.cuts, vendor.ranges = 99, False
    with pytest.raises(HoldfastError) as e:
        download(vendor.url, tmp_path / "file", pause=0)
    assert vendor.url in e.value.render()
    assert len(vendor.asked) == module.TRIES
    assert list(tmp_path.iterdir()) == []


def test_stalled_server_ends(vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.stalls = True
    monkeypatch.setattr(module, "TRIES", 1)
    with pytest.raises(HoldfastError, match="timed out"):
        download(vendor.url, tmp_path / "file", stall=0.05, pause=0)
    assert list(tmp_path.iterdir()) == []


def test_not_found_is_not_tried_again(vendor, tmp_path: Path) -> None:
    vendor.status = 404
    with pytest.raises(HoldfastError, match="404"):
        download(vendor.url, tmp_path / "file", pause=0)
    assert vendor.asked == ["GET"]


def test_full_disk_is_not_tried_again(vendor, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores SIGXFSZ: a write fails with EFBIG
    try:
        with pytest.raises(HoldfastError, match="File too large"):
            download(vendor.url, tmp_path / "file", pause=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert vendor.asked == ["GET"] and list(tmp_path.iterdir()) == []


def test_probe_asks_an_unreachable_host_once(vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(request, timeout):
        calls.append(request.full_url)
        raise OSError("no route")

    assert probe(vendor.url) == ""
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    module.forget()
    first, second = probe("http://vendor.invalid/a"), probe("http://vendor.invalid/b")
    assert "vendor.invalid" in first and first == second
    assert calls == ["http://vendor.invalid/a"]
    probe("http://elsewhere.invalid/")
    assert len(calls) == 2


def test_probe_says_what_the_server_answered(vendor) -> None:
    vendor.status = 403
    assert "403" in probe(vendor.url)
