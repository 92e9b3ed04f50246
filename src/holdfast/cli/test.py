"""The verb `test`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from holdfast import depot
from holdfast.cli.outcome import Outcome
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT, cache_dir, state_dir

ABOUT = """\
Runs every test of Holdfast, cheapest first, and goes on after a red one. A test machine called `test` is built for the
last rung and removed after it; hosts.yml is not read.

  ./holdfast test                    everything
  ./holdfast test --rung unit        style, types and what needs no machine: seconds
  ./holdfast test --rung lab         only what needs the test machine
  ./holdfast test --soak 20          the random and the long ones, 20 times as often
  ./holdfast test -- -k tailnet      words after -- go to pytest
"""
# The whole ladder, in seconds: with everything cached, and with nothing.
WARM_S, COLD_S = 15 * 60, 60 * 60
# The rungs that build a machine, which needs root: the lab that each calls its own.
LABS = {"lab": "test", "driver": "driver", "vm": "vm"}


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: commands, one after the other. ``unfinished``: run only when it is named."""

    name: str
    meaning: str
    commands: list[list[str]]
    unfinished: bool = False


def rungs(extra: list[str]) -> list[Rung]:
    """The ladder, cheapest first."""
    python = sys.executable
    # What fails says so at once: the last rung is minutes long.
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "holdfast.cli.test_report", "--durations=5"]
    # Where no test waits for another's machine, on all processors at once.
    spread = [*pytest, "-n", "auto"]
    return [
        Rung("style", "ruff and mypy", [[python, "-m", "ruff", "check", "."], [python, "-m", "mypy"]]),
        Rung("unit", "pure", [[*spread, "tests/unit", *extra]]),
        Rung("fake", "the whole deploy on a simulated machine", [[*spread, "tests/fake", *extra]]),
        Rung("lease", "real Ollama servers share what stands for a GPU", [[*pytest, "tests/lease", *extra]]),
        Rung("lab", "a real throw-away machine", [[*pytest, "tests/lab", *extra]]),
        Rung("driver", "Debian 13's real driver packages", [[*pytest, "tests/driver", *extra]], unfinished=True),
        # Its machine is the driver's, as a virtual one.
        Rung("vm", "a kernel of its own, in qemu", [[*pytest, "tests/vm", *extra]], unfinished=True),
    ]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    names = [rung.name for rung in rungs([])]
    parser.add_argument("--rung", action="append", choices=names, metavar="NAME", help=f"only this one: {', '.join(names)}")
    parser.add_argument(
        "--soak", nargs="?", type=int, const=10, default=0, metavar="N", help="repeat the random and the long ones N times (10)"
    )
    parser.add_argument("pytest", nargs="*", metavar="WORD", help="after --: words for pytest")


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    ladder = rungs(args.pytest)
    chosen = [rung for rung in ladder if (rung.name in args.rung if args.rung else not rung.unfinished)]
    labs = [LABS[rung.name] for rung in chosen if rung.name in LABS]
    if labs:
        root_only()
        if os.environ.get("HOLDFAST_KEEP_LAB") != "1":
            # One that a run before this left behind, killed perhaps, is of that run's making and not of this code's.
            leftover(labs)
    whole = not (args.rung or args.soak or args.pytest)
    budget = budget_s() if whole else None
    results = []
    for rung in chosen:
        if not args.json:
            progress.note(f"== {rung.name}: {rung.meaning}")
        results.append(climb(rung, args))
        last = results[-1]
        progress.note(f"== {rung.name}: {last['seconds']:.1f} s, {last['passed']} passed, {last['failed']} failed")
    passed, failed = (sum(result[key] for result in results) for key in ("passed", "failed"))
    lines = ["", *(f"{r['name']:6} {r['seconds']:8.1f} s  {r['passed']} passed, {r['failed']} failed" for r in results)]
    for result in results:
        lines += [f"skipped in {result['name']}: {text}" for text in result["skipped"]]
    if whole:
        lines += [f"not run: {r.name}, {r.meaning}: unfinished; ./holdfast test --rung {r.name}" for r in ladder if r.unfinished]
    if failed:
        lines.append("Fix: the first red test says what is wrong; again with only that: ./holdfast test --rung NAME -- -k WORD")
    total = round(sum(result["seconds"] for result in results), 1)
    lines += [f"{spent(total, budget)}", f"{passed} passed, {failed} failed"]
    data = {"rungs": results, "passed": passed, "failed": failed, "seconds": total, "budget_s": budget}
    return Outcome(data, lines, 1 if failed else 0)


def budget_s() -> int:
    """How long all of it may take, in seconds: more where base trees and the depot must be made first."""
    cold = not any((cache_dir() / "trees").glob("[a-z]*")) or not depot.recorded()
    return COLD_S if cold else WARM_S


def spent(total: float, budget: int | None) -> str:
    """The seconds in words, against the budget where the whole ladder was climbed. Told only: a slow computer is no fault."""
    if budget is None:
        return f"total  {total:8.1f} s"
    kind = "nothing was cached" if budget == COLD_S else "caches were warm"
    return f"total  {total:8.1f} s of {budget} s ({kind}){'' if total <= budget else ': OVER BUDGET'}"


def root_only() -> None:
    """Raises HoldfastError where the last rungs could not build their machines: said before the others take their minutes."""
    if os.geteuid() != 0:
        others = " ".join(f"--rung {rung.name}" for rung in rungs([]) if rung.name not in LABS)
        raise HoldfastError(
            f"each of the rungs {', '.join(LABS)} needs root on this computer (it builds a machine)", where="./holdfast test",
            allowed=f"without root: {others}", fix=f"sudo ./holdfast test, or ./holdfast test {others}",
        )  # fmt: skip


def leftover(names: list[str]) -> None:
    """Remove test machines that are still there."""
    from holdfast.lab import Lab, state
    from holdfast.lab.layout import Layout

    for name in names:
        if state.load(name) is not None or Layout(name).folder.exists():
            Lab(name).down()


def environment(soak: int) -> dict[str, str]:
    """What tests are told. hosts.yml of this checkout is nobody's business here; a red test's reason waits in no buffer."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_") or k == "HOLDFAST_KEEP_LAB"}
    env |= {"HOLDFAST_HOSTS": str(ROOT / "tests" / "no-hosts.yml"), "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    return env | ({"HOLDFAST_SOAK": str(soak)} if soak else {})


def climb(rung: Rung, args: argparse.Namespace) -> dict[str, Any]:
    """Run one rung; what it printed is shown as it comes and kept for its last line."""
    log = state_dir() / "logs" / f"test-{rung.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    totals = {"passed": 0, "failed": 0}
    skipped: list[str] = []
    with log.open("w") as out:
        for command in rung.commands:
            status, text = shown(command, args, out)
            found = counts(text, status, is_pytest="pytest" in command, words=bool(args.pytest))
            totals = {key: totals[key] + found[key] for key in totals}
            skipped += re.findall(r"^SKIPPED (.*)$", text, re.M)
    seconds = round(time.monotonic() - start, 1)
    return {"name": rung.name, "seconds": seconds, **totals, "skipped": skipped, "log": str(log)}


def shown(command: list[str], args: argparse.Namespace, log: Any) -> tuple[int, str]:
    """Run with output to the log and, as it comes, to the person: stdout, or stderr with --json. Status and text."""
    target = sys.stderr if args.json else sys.stdout
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment(args.soak), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    assert child.stdout is not None
    kept = []
    try:
        for line in child.stdout:
            kept.append(line)
            log.write(line)
            target.write(line)
            target.flush()
        return child.wait(), "".join(kept)
    except BaseException:
        # Ctrl-C has reached the child too, and what it built is its own to remove.
        try:
            child.wait(120)
        except subprocess.TimeoutExpired:
            child.terminate()
        raise


def counts(text: str, status: int, *, is_pytest: bool, words: bool = False) -> dict[str, int]:
    """Passed and failed. A tool that is no pytest is one test; pytest without a summary (it could not start) failed.

    ``words``: a person has chosen among the tests, so that finding none is no failure."""
    if not is_pytest:
        return {"passed": int(status == 0), "failed": int(status != 0)}
    lines = [line for line in text.splitlines() if re.search(r"\b\d+ (passed|failed|errors?|skipped|deselected)\b.* in ", line)]
    last = lines[-1] if lines else ""
    number = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error|errors)\b", last)}
    failed = number.get("failed", 0) + number.get("error", 0) + number.get("errors", 0)
    # 5: no test was collected (a -k that fits none here); every other status without a red test is a red test.
    if status not in ((0, 5) if words else (0,)) and not failed:
        failed = 1
    return {"passed": number.get("passed", 0), "failed": failed}
