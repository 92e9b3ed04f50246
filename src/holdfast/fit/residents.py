"""Which instances may have their models loaded at the same time, and which exclude each other: from the arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from holdfast.fit.cards import Card
from holdfast.fit.judge import Gpu, Verdict, holds, place

MOST = 6
"""Instances on the same cards of which every order of loading is tried (720); more than that are not let in together."""


def exclusive(verdicts: Mapping[str, Verdict]) -> list[tuple[str, str]]:
    """Pairs of instances that cannot be resident together, each pair in the order of ``verdicts``."""
    return [pair for pair in itertools.combinations(verdicts, 2) if not together(verdicts, pair)]


def shared(verdicts: Mapping[str, Verdict], one: str, other: str) -> tuple[str, ...]:
    """The cards that both use, in the order of ``one``."""
    return tuple(name for name in verdicts[one].on if name in verdicts[other].on)


def together(verdicts: Mapping[str, Verdict], names: Sequence[str]) -> bool:
    """Whether all of ``names`` may be resident at once, in whichever order they were loaded.

    llama.cpp shares a model out by the memory that is free when it starts, so each order is another split; and what runs
    has to fit together with what is loaded later. An instance of which nothing is known shares a card with nobody.
    """
    if any(verdicts[name].fits is False for name in names):
        return False
    close = sharing(verdicts, names)
    if len(close) > MOST or any(verdicts[name].fits is not True for name in close):
        return False
    return all(after(verdicts, order) is not None for order in itertools.permutations(close) if order)


def sharing(verdicts: Mapping[str, Verdict], names: Sequence[str]) -> list[str]:
    """Those of ``names`` that have a card in common with another of them."""
    return [one for one in names if any(shared(verdicts, one, other) for other in names if other != one)]


def after(verdicts: Mapping[str, Verdict], order: Sequence[str]) -> tuple[Gpu, ...] | None:
    """What the last of ``order`` puts on its cards when the others were loaded before it; None where one of them does not fit."""
    taken: dict[str, float] = {}
    parts: tuple[Gpu, ...] = ()
    for name in order:
        verdict = verdicts[name]
        assert verdict.shape is not None  # fits is True
        cards: list[Card] = [gpu.card.with_taken(taken.get(gpu.name, 0.0)) for gpu in verdict.gpus]
        if not holds(verdict.shape, cards, verdict.demand):
            return None
        parts = place(verdict.shape, cards, verdict.demand, [gpu.name for gpu in verdict.gpus])
        for part in parts:
            taken[part.name] = taken.get(part.name, 0.0) + part.needed
    return parts
