"""Looks at /proc, not at any lease: which real llama-servers run, and whether two ever do where one may."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# The vendor's own program, or the loader that runs a distribution's.
_PROGRAMS = ("llama-server", "llama-server.bin", "ld-linux-x86-64.so.2")


@dataclass(frozen=True)
class Runner:
    """A real llama-server with a model."""

    pid: int
    model: str
    argv: tuple[str, ...]


def runner(pid: int, weights: dict[str, str]) -> Runner | None:
    """What the process is, by its executable and its words; None unless it has one of `weights` (path -> model)."""
    try:
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")) not in _PROGRAMS:
            return None
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    if "--model" not in words:
        return None
    model = weights.get(words[words.index("--model") + 1])
    return Runner(pid, model, tuple(words)) if model else None


def runners(weights: dict[str, str]) -> list[Runner]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [found for pid in pids if (found := runner(pid, weights))]


@dataclass
class Sampler:
    """Counts, as often as it can, how many samples showed which models; `with` starts and ends it."""

    weights: dict[str, str]
    pause: float = 0.004
    alone: Counter[str] = field(default_factory=Counter)  # samples with only that model
    both: list[tuple[str, ...]] = field(default_factory=list)  # samples with more than one
    loads: list[str] = field(default_factory=list)  # the models of new processes, in order
    stall: float = 0.0  # seconds: the longest time between two looks; others had the processor
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)  # process -> first and last seen, monotonic

    def __enter__(self) -> Sampler:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _look(self) -> None:
        at = time.monotonic()
        while not self._stop.wait(self.pause):
            before, now, at = at, runners(self.weights), time.monotonic()
            self.stall = max(self.stall, at - before)
            for found in now:
                if found.pid not in self.spans:
                    self.loads.append(found.model)
                self.spans[found.pid] = (self.spans.get(found.pid, (at, at))[0], at)
            names = tuple(sorted(found.model for found in now))
            if len(names) == 1:
                self.alone[names[0]] += 1
            elif names:
                # A second look: listing /proc takes time, and one may have ended after it was seen.
                again = tuple(sorted(found.model for found in now if runner(found.pid, self.weights)))
                if len(again) > 1:
                    self.both.append(again)

    @property
    def hand_overs(self) -> int:
        """How often another model's process followed."""
        return sum(a != b for a, b in zip(self.loads, self.loads[1:], strict=False))


def wait_until_none(weights: dict[str, str], seconds: float = 30) -> list[Runner]:
    """What still runs after a while: nothing should."""
    end = time.monotonic() + seconds
    while (left := runners(weights)) and time.monotonic() < end:
        time.sleep(0.02)
    return left
