"""`./holdfast test`: what it took against what it may take, and a red test that says so at once."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.clock import Clock

from holdfast import depot
from holdfast.cli import test, test_climb
from holdfast.cli.show import Plain
from holdfast.cli.test_climb import Climb
from holdfast.cli.test_rungs import Rung, rungs


def run(monkeypatch: pytest.MonkeyPatch, seconds: float, **given: Any) -> Any:
    """The verb, with all rungs together taking ``seconds``."""
    monkeypatch.setattr(test, "root_only", lambda *_: None)
    monkeypatch.setattr(test, "leftover", lambda *_: None)
    clock = Clock()
    monkeypatch.setattr(test, "time", clock)

    def climbed(_: Climb, chosen: list[Rung]) -> list[dict[str, Any]]:
        clock.sleep(seconds)
        return [{"name": rung.name, "seconds": 1.0, "passed": 1, "failed": 0, "skipped": [], "log": ""} for rung in chosen]

    monkeypatch.setattr(Climb, "all", climbed)
    args = SimpleNamespace(**{"rung": None, "soak": 0, "pytest": [], "json": True, **given})
    return test.run(args, Plain(io.StringIO()))


def test_the_whole_ladder_is_told_against_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(depot, "recorded", lambda: {"ollama": None})
    cold = run(monkeypatch, 3000)
    assert (cold.data["seconds"], cold.data["budget_s"]) == (3000, 3600)
    assert "total    3000.0 s of 3600 s (nothing was cached)" in cold.lines
    (tmp_path / "holdfast" / "trees" / "bookworm-1").mkdir(parents=True)
    warm = run(monkeypatch, 3000)
    assert "total    3000.0 s of 900 s (caches were warm): OVER BUDGET" in warm.lines
    assert warm.code == 0, "a slow computer is no fault"
    assert "total     500.0 s of 900 s (caches were warm)" in run(monkeypatch, 500).lines


@pytest.mark.parametrize("given", [{"rung": ["unit"]}, {"soak": 10}, {"pytest": ["-k", "x"]}])
def test_a_part_or_a_soak_has_no_budget(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, 1, **given)
    assert found.data["budget_s"] is None
    assert not [line for line in found.lines if "BUDGET" in line or " of " in line]


RED = """
import pathlib, pytest

def test_red():
    assert 1 == 2, "the reason"

@pytest.fixture
def broken():
    raise OSError("the fixture's reason")

def test_error(broken):
    pass

def test_later():
    said = pathlib.Path("said").read_text()
    assert "RED test_some.py::test_red after" in said and "the reason" in said
    assert "RED test_some.py::test_error (setup)" in said and "the fixture's reason" in said
"""


def test_a_red_test_says_why_before_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(RED)
    options = [word for word in rungs([])[-1].commands[0][3:] if not word.startswith("tests/")]
    assert "holdfast.cli.test_report" in options
    words = [sys.executable, "-m", "pytest", "--rootdir=.", *options, "test_some.py"]
    with (tmp_path / "said").open("w") as said:
        subprocess.run(words, cwd=tmp_path, env=test_climb.environment(0), stdout=said, stderr=said, check=False, timeout=120)
    assert "1 failed, 1 passed, 1 error in" in (tmp_path / "said").read_text()
