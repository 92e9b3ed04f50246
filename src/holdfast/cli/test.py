"""The verb `test`."""

from __future__ import annotations

import argparse
import os
import sys
import time

from holdfast import depot
from holdfast.cli.outcome import Outcome
from holdfast.cli.show import Shown
from holdfast.cli.test_climb import Climb
from holdfast.cli.test_rungs import LABS, rungs
from holdfast.errors import HoldfastError
from holdfast.paths import cache_dir

ABOUT = """\
Runs the tests of Holdfast and goes on after a red one. The rungs that keep a machine run beside the others, and remove it
again; each line says which rung it is of. hosts.yml is not read.

  ./holdfast test                    everything
  ./holdfast test --rung unit        only what needs neither a machine nor a server
  ./holdfast test --rung lab         only what needs the test machine
  ./holdfast test --soak 20          the random and the long ones, 20 times as often
  ./holdfast test -- -k tailnet      words after -- go to pytest
"""
# The whole ladder, in seconds: with everything cached, and with nothing.
WARM_S, COLD_S = 15 * 60, 60 * 60


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
    chosen = [rung for rung in ladder if not args.rung or rung.name in args.rung]
    labs = [LABS[rung.name] for rung in chosen if rung.name in LABS]
    if labs:
        root_only()
        if os.environ.get("HOLDFAST_KEEP_LAB") != "1":
            # One that a run before this left behind, killed perhaps, is of that run's making and not of this code's.
            leftover(labs)
    whole = not (args.rung or args.soak or args.pytest)
    budget, began = budget_s() if whole else None, time.monotonic()
    climb = Climb(args.soak, args.pytest, sys.stderr if args.json else sys.stdout, progress.note)
    results = climb.all(chosen)
    total = round(time.monotonic() - began, 1)
    passed, failed = (sum(result[key] for result in results) for key in ("passed", "failed"))
    lines = ["", *(f"{r['name']:6} {r['seconds']:8.1f} s  {r['passed']} passed, {r['failed']} failed" for r in results)]
    for result in results:
        lines += [f"skipped in {result['name']}: {text}" for text in result["skipped"]]
    if failed:
        lines.append("Fix: the first red test says what is wrong; again with only that: ./holdfast test --rung NAME -- -k WORD")
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
