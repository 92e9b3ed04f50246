"""`status --watch`: attaches to the download wherever it is, and leaves when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.apply.run import no_password
from holdfast.cli import status
from holdfast.cli.findings import findings
from holdfast.cli.show import Shown
from holdfast.components.models.operations import progress
from holdfast.errors import HoldfastError
from holdfast.settings.loader import resolve

MODEL = "qwen2.5-coder:32b"
MIB = 1 << 20


class Seen(Shown):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def bytes(self, done: int, total: int | None, label: str) -> None:
        self.told.append((done, total, label))

    def note(self, text: str) -> None:
        self.told.append(text)


def look(state_of: str, active: str, **pull: Any) -> dict[str, Any]:
    store = {"models": {MODEL: {"state": state_of, "bytes": 1}}, "active": active, "pull": pull or None, "journal": ""}
    return {"models": store}


def watched(looks: list[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Any]]:
    rest: Iterator[Any] = iter(looks[1:])

    def read(ws: Any, ask: Any) -> Any:
        found = next(rest)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(status, "read", read)
    seen = Seen()
    gpus = {"left": "01:00.0", "right": "21:00.0"}
    ws = resolve({"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": gpus})
    last = status.watch(ws, looks[0], seen, no_password, every_s=0.001 if len(looks) > 1 else 5)
    assert next(rest, None) is None, "it has looked as often as it should"
    return last, seen.told


def test_it_shows_bytes_rate_and_time_left_and_survives_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    at = {"model": MODEL, "total": 100 * MIB}
    looks = [
        look("absent", "active", bytes=10 * MIB, rate=2.0 * MIB, eta=45.0, **at),
        HoldfastError("box could not be read"), HoldfastError("box could not be read"),
        look("absent", "activating", bytes=90 * MIB, rate=2.0 * MIB, eta=5.0, **at),
        look("present", "inactive", bytes=100 * MIB, **at),
    ]  # fmt: skip
    last, told = watched(looks, monkeypatch)
    assert last == looks[-1]
    assert told[0] == (10 * MIB, 100 * MIB, f"models: {MODEL}, 2.0 MiB/s, 0:00:45 left")
    assert [text for text in told if isinstance(text, str)] == ["box could not be read; trying again"]
    assert told[-1][0] == 90 * MIB


def test_it_leaves_when_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched([look("present", "inactive")], monkeypatch)[1] == []
    assert watched([{"models": None}], monkeypatch)[1] == []


def test_it_ends_with_the_puller_and_the_finding_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = look("absent", "failed", state="failed", error="no room", fix="make some")
    monkeypatch.setattr(status, "verdict", lambda store, left, quiet, patience, unit: store["active"] == "failed")
    last, _ = watched([look("absent", "active"), failed], monkeypatch)
    whole = {"nvidia": None, "room": None, "units": {}, "undeclared": [], **last}
    (finding,) = [f for f in findings("box", whole, require_gpu=False, tailnet=False) if MODEL in f.message]
    assert finding.message.endswith("absent (no room)") and finding.fix == "make some"


def test_label_without_a_rate() -> None:
    assert progress({}) == {"done": 0, "total": 0, "label": "models: "}
    assert progress({"model": "m", "rate": 0, "eta": 3700})["label"] == "models: m, 1:01:40 left"
