"""Medians, and how sure a ratio of two is (pure)."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_DRAWS = 2000


@dataclass(frozen=True)
class Spread:
    """A median with the least and the most of ``count`` values."""

    median: float
    least: float
    most: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Of one value at least."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios, and the interval that holds it with 95 %."""

    median: float
    low: float
    high: float
    count: int


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 1) -> Ratio:
    """Of pairs taken one after the other: what slows the machine down slows both of a pair, and drops out of their ratio.

    The interval is the bootstrap's (percentiles of the median over pairs drawn with replacement); the same for the same values.
    """
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(each, k=len(each))) for _ in range(_DRAWS))
    return Ratio(statistics.median(each), medians[int(0.025 * _DRAWS)], medians[int(0.975 * _DRAWS) - 1], len(each))
