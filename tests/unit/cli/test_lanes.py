"""`./holdfast test`: rungs side by side, each line with the name of its rung, and an end in order."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import until

from holdfast.cli import test_climb
from holdfast.cli.test_climb import Climb, lanes
from holdfast.cli.test_rungs import LONG, Rung, rungs
from holdfast.paths import ROOT


@pytest.fixture(autouse=True)
def own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(test_climb.os, "cpu_count", lambda: 2)


def program(name: str, text: str) -> Rung:
    return Rung(name, "a program", [[sys.executable, "-c", text]])


def names(found: list[list[Rung]]) -> list[list[str]]:
    return [[rung.name for rung in lane] for lane in found]


def test_what_takes_longest_is_one_lane_and_the_rest_another(monkeypatch: pytest.MonkeyPatch) -> None:
    found = names(lanes(rungs([])))
    assert found[0] == ["style", "unit", "fake", "lease", "down", "driver", "vm"] and found[1] == list(LONG)
    assert names(lanes(rungs([])[:2])) == [["style", "unit"]]
    everything = [rung.name for rung in rungs([])]
    assert names(lanes(rungs([]), soak=10)) == [everything], "what is measured is measured alone"
    monkeypatch.setattr(test_climb.os, "cpu_count", lambda: 1)
    assert names(lanes(rungs([]))) == [everything]


def test_they_run_at_the_same_time_and_every_line_says_whose_it_is(tmp_path: Path) -> None:
    # Each waits for the other's file: one after the other they would wait for ever.
    text = "import pathlib, time\n" + "pathlib.Path({0!r}, {1!r}).touch()\n" + (
        "for _ in range(6000):\n    if pathlib.Path({0!r}, {2!r}).exists():\n        break\n    time.sleep(0.01)\n"
        "else:\n    raise SystemExit('alone')\nprint('here is', {1!r})"
    )  # fmt: skip
    pairs = (("unit", "lab"), ("lab", "unit"))
    chosen = [program(own, text.format(str(tmp_path), own, other)) for own, other in pairs]
    out, notes = io.StringIO(), []
    found = Climb(0, [], out, notes.append).all(chosen)
    assert [(result["name"], result["passed"]) for result in found] == [("unit", 1), ("lab", 1)]
    assert sorted(out.getvalue().splitlines()) == ["lab    | here is lab", "unit   | here is unit"]
    assert sum("== lab" in note for note in notes) == 2
    assert (tmp_path / "holdfast/logs/test-lab.log").read_text() == "here is lab\n", "the log is the rung's alone"


def test_the_shorter_lane_gives_way_to_the_longer(tmp_path: Path) -> None:
    priority = "import os, time\ntime.sleep(1)\nprint(os.getpriority(os.PRIO_PROCESS, 0))"
    out, own = io.StringIO(), os.getpriority(os.PRIO_PROCESS, 0)
    Climb(0, [], out, lambda _: None).all([program("unit", priority), program("lab", priority)])
    assert sorted(out.getvalue().splitlines()) == [f"lab    | {own}", f"unit   | {min(own + 5, 19)}"]
    out = io.StringIO()
    Climb(0, [], out, lambda _: None).all([program("unit", priority)])
    assert out.getvalue() == f"{own}\n", "alone it waits for nobody"


def test_one_lane_is_shown_as_it_is() -> None:
    out = io.StringIO()
    found = Climb(0, [], out, lambda _: None).all([program("unit", "print('x')"), program("fake", "raise SystemExit(3)")])
    assert out.getvalue() == "x\n"
    assert [(result["passed"], result["failed"]) for result in found] == [(1, 0), (0, 1)]


TIDY = """
import pathlib, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(100)
except KeyboardInterrupt:
    time.sleep(0.3)
    pathlib.Path(sys.argv[1] + ".tidied").touch()
"""
# unit: two commands, of which only the first may begin. The process is called as `./holdfast test` is.
INTERRUPTED = f"""
import signal, sys
from holdfast.cli.test_climb import Climb
from holdfast.cli.test_rungs import Rung
signal.signal(signal.SIGINT, signal.default_int_handler)
def words(name):
    return [sys.executable, "-c", {"import sys" + TIDY!r}, sys.argv[1] + "/" + name]
rungs = [Rung("unit", "", [words("unit"), words("second")]), Rung("fake", "", [words("fake")]), Rung("lab", "", [words("lab")])]
Climb(0, [], sys.stdout, lambda _: None).all(rungs)
"""


@pytest.mark.parametrize("to_all", [True, False], ids=["as a terminal does", "kill -INT"])
def test_ctrl_c_lets_both_lanes_tidy_up_and_begins_nothing_more(to_all: bool, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], env=env, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    until(lambda: (tmp_path / "unit").exists() and (tmp_path / "lab").exists())
    (os.killpg if to_all else os.kill)(child.pid, signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == -signal.SIGINT and "KeyboardInterrupt" in said
    assert (tmp_path / "unit.tidied").exists() and (tmp_path / "lab.tidied").exists()
    assert not (tmp_path / "second").exists() and not (tmp_path / "fake").exists()


@pytest.mark.parametrize(("broken", "other"), [("unit", "lab"), ("lab", "unit")])
def test_an_error_in_one_lane_lets_the_other_tidy_up(broken: str, other: str, tmp_path: Path) -> None:
    there = f"""
import pathlib, time
for _ in range(6000):
    if pathlib.Path({str(tmp_path / other)!r}).exists():
        break
    time.sleep(0.01)
"""
    tidy = f"import sys\nsys.argv[1:] = [{str(tmp_path / other)!r}]\n{TIDY}"
    breaks = Rung(broken, "", [[sys.executable, "-c", there], [str(tmp_path / "no such program")]])
    with pytest.raises(FileNotFoundError):
        Climb(0, [], io.StringIO(), lambda _: None).all([breaks, program(other, tidy)])
    assert (tmp_path / f"{other}.tidied").exists()
