"""Servers that always send something and never get done."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast_onhost.fetch import fetch
from holdfast_onhost.fetch_errors import Unreachable

from .conftest import QUICK, Source

DRIP = replace(QUICK, least=20_000.0, window=0.5, tries=3)


def test_server_that_drips_is_given_up_and_what_came_is_kept(source: Source, tmp_path: Path) -> None:
    """A byte every now and then: never without one for long, and never done."""
    target = tmp_path / "file"
    source.behaviour.rate = 20
    with pytest.raises(Unreachable, match="at least 20000 a second are wanted") as caught:
        fetch(source.url, len(source.data), source.sha256, str(target), manner=DRIP)
    assert "3 tries" in caught.value.message
    part = target.with_name("file.part")
    assert 0 < part.stat().st_size < len(source.data)
    assert len(source.behaviour.requests) == 3
    # The control: a faster one is not too slow; and it goes on from there.
    source.behaviour.rate = 10_000_000
    kept = part.stat().st_size
    fetch(source.url, len(source.data), source.sha256, str(target), manner=DRIP)
    assert target.read_bytes() == source.data
    assert source.behaviour.requests[3].endswith(f"bytes={kept}-{len(source.data) - 1}")


def test_a_limit_of_our_own_is_not_the_servers_slowness(source: Source, tmp_path: Path) -> None:
    target = tmp_path / "file"
    slow = replace(DRIP, least=20_000_000.0, limit=4_000_000.0)
    fetch(source.url, len(source.data), source.sha256, str(target), manner=slow)
    assert target.read_bytes() == source.data


def test_an_answer_whose_head_drips_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = []

        def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    told.append(1)
                    with caller, contextlib.suppress(OSError):
                        for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000:
                            caller.sendall(bytes([letter]))
                            time.sleep(0.01)

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with pytest.raises(Unreachable):
            fetch(url, 100, "0" * 64, str(tmp_path / "x"), manner=replace(DRIP, tries=2))
        assert len(told) == 2
