"""Running rungs of `./holdfast test`, one after the other or in two lanes side by side."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TextIO

from holdfast.cli.test_rungs import LONG, Rung
from holdfast.paths import ROOT, state_dir


def environment(soak: int) -> dict[str, str]:
    """What tests are told. hosts.yml of this checkout is nobody's business here; a red test's reason waits in no buffer."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_") or k == "HOLDFAST_KEEP_LAB"}
    env |= {"HOLDFAST_HOSTS": str(ROOT / "tests" / "no-hosts.yml"), "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    return env | ({"HOLDFAST_SOAK": str(soak)} if soak else {})


def lanes(rungs: Sequence[Rung], soak: int = 0) -> list[list[Rung]]:
    """What runs side by side: the long ones wait for their machines half of their time, and the others need none of these.

    Within a lane one after the other. All in one where there is one processor, and for a soak: what is repeated that often is
    measured, too.
    """
    if soak or os.cpu_count() == 1:
        return [list(rungs)]
    two = [[rung for rung in rungs if (rung.name in LONG) == long] for long in (False, True)]
    return [lane for lane in two if lane]


class Climb:
    """One run of some rungs. ``soak``: how often what is long is repeated; ``words``: a person's own for pytest.

    ``out`` is where a person reads along; ``note`` takes a line about a rung.
    """

    def __init__(self, soak: int, words: Sequence[str], out: TextIO, note: Callable[[str], None]) -> None:
        self.soak, self.words, self.out, self.note = soak, words, out, note
        self._children: set[subprocess.Popen[str]] = set()
        self._writing, self._starting, self._over = threading.Lock(), threading.Lock(), False

    def all(self, rungs: Sequence[Rung]) -> list[dict[str, Any]]:
        """Runs ``rungs``, in lanes; what became of each, in their order."""
        side_by_side = lanes(rungs, self.soak)
        with ThreadPoolExecutor(len(side_by_side) or 1) as pool:
            running = [pool.submit(self._lane, lane, len(side_by_side) > 1) for lane in side_by_side]
            try:
                found = {result["name"]: result for lane in as_completed(running) for result in lane.result()}
            except BaseException:
                self._end()
                raise
        return [found[rung.name] for rung in rungs]

    def _lane(self, lane: Sequence[Rung], beside: bool) -> list[dict[str, Any]]:
        return [self._climb(rung, beside) for rung in lane if not self._over]

    def _end(self) -> None:
        """What the children built is theirs to remove: they have two minutes for it."""
        with self._starting:
            self._over, children = True, list(self._children)
        end = time.monotonic() + 120
        for child in children:
            child.send_signal(signal.SIGINT)
        for child in children:
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.terminate()

    def _climb(self, rung: Rung, beside: bool) -> dict[str, Any]:
        """Run one rung; what it printed is shown as it comes and kept for its last line. ``beside``: another lane runs."""
        self.note(f"== {rung.name}: {rung.meaning}")
        log = state_dir() / "logs" / f"test-{rung.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        totals = {"passed": 0, "failed": 0}
        skipped: list[str] = []
        with log.open("w") as out:
            for command in rung.commands:
                status, text = self._shown(command, out, f"{rung.name:6} | " if beside else "", beside and rung.name not in LONG)
                found = counts(text, status, is_pytest="pytest" in command, words=bool(self.words))
                totals = {key: totals[key] + found[key] for key in totals}
                skipped += re.findall(r"^SKIPPED (.*)$", text, re.M)
        seconds = round(time.monotonic() - start, 1)
        self.note(f"== {rung.name}: {seconds:.1f} s, {totals['passed']} passed, {totals['failed']} failed")
        return {"name": rung.name, "seconds": seconds, **totals, "skipped": skipped, "log": str(log)}

    def _shown(self, command: list[str], log: TextIO, prefix: str, gives_way: bool) -> tuple[int, str]:
        """Run with output to the log and, as it comes, to the person. Status and text.

        ``gives_way``: it has time, and takes of the processors what the long lane leaves.
        """
        with self._starting:
            if self._over:
                return -signal.SIGINT, ""
            child = subprocess.Popen(
                command, cwd=ROOT, env=environment(self.soak), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace",
                # A group of its own: Ctrl-C in the terminal comes to us alone, and we tell each child once.
                process_group=0,
            )  # fmt: skip
            self._children.add(child)
        if gives_way:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(os.PRIO_PROCESS, 0) + 5)
        assert child.stdout is not None
        kept = []
        for line in child.stdout:
            kept.append(line)
            log.write(line)
            with self._writing:
                self.out.write(prefix + line)
                self.out.flush()
        status = child.wait()
        self._children.discard(child)
        return status, "".join(kept)


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
