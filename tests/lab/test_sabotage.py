"""Every check of tests/verify can fail: what it promises is broken, it turns red for that reason, and one apply repairs it.

Batch by batch: sabotage; the checks concerned are all red, each for its own reason. Then one apply; everything is green,
and one more apply has nothing to do.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import verify
from holdfast.cli.verify_report import name_of
from holdfast.paths import ROOT
from holdfast.settings import load

sys.path.insert(0, str(ROOT))

from tests.lab import sabotage
from tests.lab.holdfast_command import environment


@dataclass(frozen=True)
class Outcome:
    """How one check ended: passed, failed, skipped; and what it said."""

    how: str
    said: str


def check(workstation: Any, folder: Path, checks: Sequence[str] = ()) -> dict[str, Outcome]:
    """Run tests/verify, or some of it, against the lab: check -> outcome."""
    name, report = workstation.name, folder / "verify.xml"
    what = [f"tests/verify/{c}" for c in checks] or ["tests/verify"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *what, "-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--holdfast-host={name}",
         *verify.where(load(name), True), *(f"--expect={r}={s}" for r, s in verify.expected(name).items())],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
        env=environment(),
    )  # fmt: skip
    assert done.returncode in (0, 1), f"tests/verify could not be run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return outcomes(report)


def outcomes(report: Path) -> dict[str, Outcome]:
    """What a JUnit report says; an error in a fixture is a failure like any other."""
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.attrib['classname'].rpartition('.')[2]}.py::{case.attrib['name']}"
        bad = next((c for c in case if c.tag in ("failure", "error")), None)
        skipped = next((c for c in case if c.tag == "skipped"), None)
        if bad is not None:
            found[name] = Outcome("failed", f"{bad.attrib.get('message', '')}\n{bad.text or ''}")
        elif skipped is not None:
            found[name] = Outcome("skipped", skipped.attrib.get("message", ""))
        else:
            found[name] = Outcome("passed", "")
    return found


def test_every_check_passes_or_is_waived(workstation: Any) -> None:
    """By the word of the first `up`."""
    found = workstation.first["verify"]
    assert found["failed"] == 0 and found["passed"] > 40, found
    waived = {name_of(check): words for check, words in sabotage.WAIVED.items()}
    skipped = {one["name"].partition(" [")[0]: one["reason"] for one in found["skipped"]}
    assert skipped.keys() == waived.keys()
    for name, words in waived.items():
        assert words in skipped[name], f"{name} is waived for another reason: {skipped[name]}"


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    """Damage adds up from test to test; whatever becomes of them, the machine is everybody's again afterwards."""
    workstation.settle()
    yield workstation
    workstation.settle()


@pytest.mark.parametrize("number", sabotage.BATCHES)
def test_sabotage_is_seen(number: int, machine: Any, tmp_path: Path) -> None:
    chosen = sabotage.batch(number)
    wanted = {name: (words, s.name) for s in chosen for name, words in s.reddens.items()}
    machine.settled = False
    done = machine.ssh(["sudo", "sh", "-xs"], input=sabotage.script(chosen), timeout=180)
    assert done.returncode == 0, f"the sabotage itself failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    found = check(machine, tmp_path, sorted(wanted))
    if number in sabotage.ALONE:
        assert machine.apply().changed
    problems = []
    for name, (words, what) in wanted.items():
        outcome = found.get(name, Outcome("not run", ""))
        if outcome.how != "failed":
            problems.append(f"STILL {outcome.how.upper()}: {name}, though {what}")
        elif words not in outcome.said:
            problems.append(f"RED FOR ANOTHER REASON: {name}; {what}; it does not say {words!r}:\n{outcome.said[:1500]}")
    assert not problems, "\n\n".join(problems)


def test_one_apply_repairs_all_of_it(machine: Any, tmp_path: Path) -> None:
    assert machine.settled or machine.apply().changed, "the apply says that it changed nothing"
    red = {name: o.said[:1500] for name, o in check(machine, tmp_path).items() if o.how == "failed"}
    assert not red, red
    assert machine.apply().changed == []
