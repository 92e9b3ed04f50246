"""`status --watch`: attaches to the download wherever it is, and leaves when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast.apply.run import no_password
from holdfast.cli import status
from holdfast.cli.findings import findings
from holdfast.cli.show import Shown
from holdfast.components.models import operations
from holdfast.components.models.operations import Pull, progress, reason
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


def test_it_says_why_nothing_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at = {"model": MODEL, "total": 100 * MIB, "bytes": 10 * MIB, "state": "running"}
    stalled = look("absent", "active", waiting="HTTP 503 busy", **at)
    looks = [look("absent", "active", **at), stalled, stalled, stalled, look("present", "inactive", **at)]
    _, told = watched(looks, monkeypatch)
    assert [text for text in told if isinstance(text, str)] == ["waiting: HTTP 503 busy"]
    assert len(told) == 2, "and its bytes once"


def test_what_is_read_is_progress_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = look("unchecked", "active", state="running", bytes=0, total=0, checked=30 * MIB)
    _, told = watched([reading, look("present", "inactive")], monkeypatch)
    assert told == [(30 * MIB, 0, "models: reading what is there")]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"pull": {"state": "running", "waiting": "HTTP 503"}}, "HTTP 503"),
        ({"pull": {"state": "running", "waiting": ""}}, ""),
        ({"pull": {"state": "running"}}, ""),
        ({"pull": {"state": "failed", "error": "x: refused", "waiting": "old"}, "sub": "auto-restart"}, "x: refused"),
        ({"pull": None, "sub": "auto-restart", "journal": "error: no route\nFix: look\n"}, "no route"),
        ({"pull": {"state": "done", "waiting": "old"}}, ""),
        ({}, ""),
    ],
)
def test_reason(found: dict[str, Any], why: str) -> None:
    assert reason(found) == why


class Host:
    name = "box"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of `waiting`, which passes in its sleep only."""
    now = [0.0]
    monkeypatch.setattr(operations.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(operations.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def awaited(looks: Callable[[int], dict[str, Any]], patience: float, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[Any]]:
    """How `waiting` ends, and what it tells meanwhile; `looks`: the number of the look -> what is found."""
    told: list[Any] = []
    number = iter(range(100_000))
    monkeypatch.setattr(operations, "emit", lambda kind, **fields: told.append((kind, fields)))
    monkeypatch.setattr(operations, "report", lambda host, error: told.append(("error", error)))
    monkeypatch.setattr(operations.Pull, "read", lambda self, host: looks(next(number)))
    done = operations.waiting(None, Host(), Pull("", "", "", "u", {MODEL: "sha256:x"}, least=1024.0), patience)
    return done, told


def test_up_shows_bytes_rate_and_time_left_until_all_is_there(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(n: int) -> dict[str, Any]:
        if n == 40:
            return dict(look("present", "inactive")["models"])
        pull = {"state": "running", "model": MODEL, "bytes": n * MIB, "total": 40 * MIB, "rate": 1.0 * MIB, "eta": 40.0 - n}
        return dict(look("absent", "active", **pull)["models"])

    done, told = awaited(looks, 5, monkeypatch)
    assert done and {kind for kind, _ in told} == {"bytes"} and clock[0] > 5
    assert told[30][1] == {
        "host": "box", "done": 30 * MIB, "total": 40 * MIB, "label": f"models: {MODEL}, 1.0 MiB/s, 0:00:10 left",
    }  # fmt: skip


def test_up_says_why_nothing_comes_long_before_it_gives_up(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    pull = {"state": "running", "model": MODEL, "bytes": 7, "total": 40, "waiting": "HTTP 503 busy"}
    done, told = awaited(lambda n: dict(look("absent", "active", **pull)["models"]), 60, monkeypatch)
    assert not done and told[-1][0] == "error" and "no new byte" in told[-1][1].message
    said = [fields for kind, fields in told if kind == "waiting"]
    assert said[0]["what"] == "models: HTTP 503 busy" and said[0]["seconds"] < 10
    assert told[0][0] == "bytes"


def test_up_does_not_give_up_while_the_puller_reads(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(n: int) -> dict[str, Any]:
        if n == 300:
            return dict(look("present", "inactive")["models"])
        read = {"checked": n * MIB} if reads else {}
        return dict(look("unchecked", "active", state="running", bytes=0, total=0, **read)["models"])

    reads = True
    assert awaited(looks, 60, monkeypatch)[0] and clock[0] > 60
    reads = False  # the control
    assert not awaited(looks, 60, monkeypatch)[0]


def test_label_without_a_rate() -> None:
    assert progress({}) == {"done": 0, "total": 0, "label": "models: "}
    assert progress({"model": "m", "rate": 0, "eta": 3700})["label"] == "models: m, 1:01:40 left"
