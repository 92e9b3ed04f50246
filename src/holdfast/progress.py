"""How long work tells what it is doing. The renderers (terminal, plain lines) are in holdfast.cli."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a piece of long work may call while it runs."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """One named phase; its seconds are shown and kept. Phases may nest."""

    def note(self, text: str) -> None:
        """One line a person should see."""

    def bytes(self, done: int, total: int | None, label: str) -> None:
        """How far a transfer is, in bytes; ``total`` None where the size is unknown."""

    def step(self, n: int, of: int, label: str) -> None:
        """Step ``n`` of ``of`` begins; ``label`` says what it does."""


class Quiet:
    """Says nothing."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None:
        pass

    def bytes(self, done: int, total: int | None, label: str) -> None:
        pass

    def step(self, n: int, of: int, label: str) -> None:
        pass


QUIET: Progress = Quiet()
