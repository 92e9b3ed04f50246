"""The nearest settings that fit, for a model that does not with those it has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from holdfast.fit.cards import Card
from holdfast.fit.judge import Demand, holds, largest
from holdfast.fit.memory import BATCH
from holdfast.fit.shape import Shape

USEFUL = 4096  # tokens: with less, another cache or another card is the nearer way
LEAST = 512  # the least that a context may be set to


def nearest(
    shape: Shape, cards: Mapping[str, Card], demand: Demand, free: Mapping[str, Card] | None = None
) -> dict[str, Any]:
    """What to change in the instance so that it fits; empty where nothing of this helps.

    ``cards``: the instance's own by name, ``free``: the machine's other ones. In this order: the usual batch; a smaller context;
    a smaller number format of the cache; one request at a time; one card more, then two; a context of less than USEFUL. Where a
    context is part of it, it is the largest that fits (and not more than was asked).
    """
    if holds(shape, list(cards.values()), demand):
        return {}
    for floor in (USEFUL, LEAST):
        for names, used in _cards(cards, free or {}):
            for change, other in _changes(demand):
                context = _context(shape, list(used.values()), other, floor)
                if context is not None:
                    return {**({"gpus": names} if names else {}), **change, **context}
    return {}


def _context(shape: Shape, cards: Sequence[Card], other: Demand, floor: int) -> dict[str, Any] | None:
    """The context to set with everything else as in ``other``: none needed (empty), or the largest one; None: too little."""
    if holds(shape, cards, other):
        return {}
    context = min(largest(shape, cards, other), other.context)
    return {"context": context} if context >= floor else None


def _changes(demand: Demand) -> Iterator[tuple[dict[str, Any], Demand]]:
    """Settings of the cache, the least different first."""
    for parallel in dict.fromkeys((demand.parallel, 1)):
        for kind in dict.fromkeys((demand.kv_type, "q8_0", "q4_0", "f16")):
            flash = demand.flash_attention or kind != "f16"
            batch = min(demand.batch, BATCH)
            other = replace(demand, parallel=parallel, kv_type=kind, flash_attention=flash, batch=batch)
            yield {key: value for key, value in asdict(other).items() if value != getattr(demand, key)}, other


def _cards(own: Mapping[str, Card], free: Mapping[str, Card]) -> Iterator[tuple[list[str], dict[str, Card]]]:
    """The instance's cards, then with each one more, with each two more …"""
    others = [name for name in free if name not in own]
    for count in range(len(others) + 1):
        for more in itertools.combinations(others, count):
            names = [*own, *more]
            yield (names if more else []), {**own, **{name: free[name] for name in more}}
