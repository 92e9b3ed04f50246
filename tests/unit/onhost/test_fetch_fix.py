"""A fetch that fails says what to do about it, whatever it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_onhost.fetch import fetch
from holdfast_onhost.fetch_errors import FetchError

from .conftest import QUICK, Source


@pytest.mark.parametrize(
    "url", ["ftp://nas.lan/x", "http:///x", "file://nas.lan/x", "file:///nowhere/at/all", "", "a file in the way"], ids=str
)
def test_every_failure_says_what_to_do(url: str, source: Source, tmp_path: Path) -> None:
    """An empty address: one that answers 403."""
    source.behaviour.blob_statuses = [403] if not url else []
    path = tmp_path / "here"
    if url == "a file in the way":
        path.write_text("")
        path = path / "file"
    with pytest.raises(FetchError) as caught:
        fetch(url if "/" in url else source.url, len(source.data), source.sha256, str(path), manner=QUICK)
    fix = caught.value.render().splitlines()[-1]
    assert fix.startswith("Fix: ") and len(fix) > 10
