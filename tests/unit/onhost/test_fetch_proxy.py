"""A proxy of the environment is used, and left out where the environment says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_onhost.fetch import fetch
from holdfast_onhost.fetch_errors import FetchError

from .conftest import QUICK, Source


def test_proxy_of_the_environment(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", source.server.url)
    with pytest.raises(FetchError, match="HTTP 404"):  # the registry of the test does not forward
        fetch("http://nowhere.invalid/x?y=1", 5, "0" * 64, str(tmp_path / "x"), manner=QUICK)
    assert source.behaviour.requests == ["GET http://nowhere.invalid/x?y=1"]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(source.url, len(source.data), source.sha256, str(tmp_path / "x"), manner=QUICK)
    assert (tmp_path / "x").read_bytes() == source.data
