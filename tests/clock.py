"""A clock for tests of what waits."""

from __future__ import annotations


class Clock:
    """In place of the module ``time`` where Holdfast waits: seconds pass when they are slept."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
