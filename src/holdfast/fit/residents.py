"""Which instances may have their models loaded at the same time, and which exclude each other: from the arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from holdfast.fit.cards import Card
from holdfast.fit.judge import Verdict, holds, place


def exclusive(verdicts: Mapping[str, Verdict]) -> list[tuple[str, str]]:
    """Pairs of instances that cannot be resident together, each pair in the order of ``verdicts``."""
    return [pair for pair in itertools.combinations(verdicts, 2) if not together(verdicts, pair)]


def groups(verdicts: Mapping[str, Verdict]) -> list[tuple[str, ...]]:
    """The largest sets of instances that may be resident together; every instance that fits alone is in one."""
    found: list[tuple[str, ...]] = []
    for count in range(len(verdicts), 0, -1):
        for names in itertools.combinations(verdicts, count):
            if not any(set(names) <= set(larger) for larger in found) and together(verdicts, names):
                found.append(names)
    return found


def together(verdicts: Mapping[str, Verdict], names: Sequence[str]) -> bool:
    """Whether all of ``names`` may be resident at once, in whichever order they were loaded.

    llama.cpp shares a model out by the memory that is free when it starts, so each order is another split; and what runs
    has to fit together with what is loaded later. An instance of which nothing is known shares a card with nobody.
    """
    if len(names) < 2:
        return all(verdicts[name].fits is not False for name in names)
    used = [set(verdicts[name].on) for name in names]
    if all(not (a & b) for a, b in itertools.combinations(used, 2)):
        return all(verdicts[name].fits is not False for name in names)
    if any(verdicts[name].fits is not True for name in names):
        return False
    return all(_loads(verdicts, order) for order in itertools.permutations(names))


def _loads(verdicts: Mapping[str, Verdict], order: Sequence[str]) -> bool:
    taken: dict[str, float] = {}
    for name in order:
        verdict = verdicts[name]
        assert verdict.shape is not None  # fits is True
        cards: list[Card] = [gpu.card.with_taken(taken.get(gpu.name, 0.0)) for gpu in verdict.gpus]
        if not holds(verdict.shape, cards, verdict.demand):
            return False
        for part in place(verdict.shape, cards, verdict.demand, [gpu.name for gpu in verdict.gpus]):
            taken[part.name] = taken.get(part.name, 0.0) + part.needed
    return True
