"""Progress for a person: Rich on a terminal, plain lines elsewhere. Both keep the seconds of every phase."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from holdfast.errors import visible

# How often a transfer or a row of steps says where it is, where nothing can be drawn over.
EVERY_S = 5.0


def shown(text: str) -> str:
    """``text`` as a terminal may have it: what a machine or a file said stands in it."""
    return visible(text, keep="\n\t")


class Shown:
    """What both renderers share. ``seconds``: wall-clock by phase, nested ones too; a phase that comes twice adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        self._open.append(name)
        self.began(name)
        well = False
        try:
            yield
            well = True
        finally:
            spent = time.monotonic() - start
            self._open.pop()
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
            self.ended(name, spent, well)

    @property
    def indent(self) -> str:
        return "  " * len(self._open)

    def began(self, name: str) -> None:
        """A phase has begun (it is open already)."""

    def ended(self, name: str, seconds: float, well: bool) -> None:
        """A phase has ended."""

    def note(self, text: str) -> None:
        """One line."""

    def bytes(self, done: int, total: int | None, label: str) -> None:
        """How far a transfer is."""

    def step(self, n: int, of: int, label: str) -> None:
        """Step ``n`` of ``of`` begins."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The terminal is free for a question while this is open."""
        yield


class Plain(Shown):
    """One line when a phase begins and ends, and now and then in between; to stderr."""

    def __init__(self, out: Any = None, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._out, self._every, self._last = out or sys.stderr, every_s, 0.0

    def _line(self, text: str) -> None:
        print(shown(text), file=self._out, flush=True)

    def began(self, name: str) -> None:
        self._last = time.monotonic()
        self._line(f"{self.indent[2:]}{name} ...")

    def ended(self, name: str, seconds: float, well: bool) -> None:
        self._line(f"{self.indent}{name}: {'' if well else 'failed after '}{seconds:.1f} s")

    def note(self, text: str) -> None:
        self._line(f"{self.indent}{text}")

    def _now_and_then(self, text: str, last: bool) -> None:
        if last or time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._line(f"{self.indent}{text}")

    def bytes(self, done: int, total: int | None, label: str) -> None:
        of = f" of {mib(total)} ({100 * done // total} %)" if total else ""
        self._now_and_then(f"{label}: {mib(done)}{of}", last=False)

    def step(self, n: int, of: int, label: str) -> None:
        self._now_and_then(f"{n}/{of} {label}", last=False)


class Drawn(Shown):
    """A line for each open phase with what it is at; a finished phase leaves one line behind. To stderr."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        columns = (
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
            TextColumn("{task.fields[at]}", markup=False), TimeElapsedColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._tasks: list[Any] = []

    def __enter__(self) -> Drawn:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def began(self, name: str) -> None:
        self._tasks.append(self._progress.add_task(f"{self.indent[2:]}{name}", total=None, at=""))

    def ended(self, name: str, seconds: float, well: bool) -> None:
        self._progress.remove_task(self._tasks.pop())
        sign, style = ("✓", "green") if well else ("✗", "red")
        self._console.print(f"{self.indent}{sign} {name}  {seconds:.1f} s", style=style)

    def note(self, text: str) -> None:
        self._console.print(f"{self.indent}{shown(text)}", style="dim")

    def _update(self, done: int, total: int | None, at: str) -> None:
        if self._tasks:
            self._progress.update(self._tasks[-1], completed=done, total=total, at=shown(at))

    def bytes(self, done: int, total: int | None, label: str) -> None:
        self._update(done, total, f"{label} {mib(done)}" + (f" of {mib(total)}" if total else ""))

    def step(self, n: int, of: int, label: str) -> None:
        self._update(n - 1, of, f"{n}/{of} {label}"[: max(20, self._console.width - 60)])

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


def renderer(as_json: bool) -> AbstractContextManager[Shown]:
    """Rich where a person sits at a terminal, plain lines to stderr otherwise and with --json."""
    return _plain() if as_json or not sys.stderr.isatty() else Drawn()


@contextmanager
def _plain() -> Iterator[Shown]:
    yield Plain()


def mib(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
