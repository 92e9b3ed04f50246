"""What each instance holds alone while its model is loaded: as much as the arithmetic demands, and what a person has said.

A lease is one name, held by one instance at a time. An instance holds the lease of a card if it excludes another instance of
that card, and of a card that is its alone (so that everybody can see who has it). Whoever fits on a card beside everybody
else there holds nothing of it and waits for nobody.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from holdfast.fit.judge import Verdict
from holdfast.fit.residents import after, shared, sharing, together

MOST = 8
"""Instances of one machine of which every combination is looked at; with more, each holds all of its cards."""

Leases = dict[str, tuple[str, ...]]


def leases(verdicts: Mapping[str, Verdict], said: Mapping[str, Sequence[str] | None] | None = None) -> Leases:
    """Instance -> the names that it holds. ``said``: those that a person has set for an instance (None: left to this).

    Every set of instances that no lease keeps apart then fits on the cards together, unless a person's leases forbid that:
    holdfast.settings.fitting refuses those.
    """
    given = {role: names for role, names in (said or {}).items() if names is not None}
    held = {role: set(given.get(role, ())) for role in verdicts}
    own = [role for role in verdicts if role not in given]
    if len(verdicts) > MOST:
        return {role: tuple(given.get(role, verdict.on)) for role, verdict in verdicts.items()}
    while more := _missing(verdicts, held, own):
        for role, card in more:
            held[role].add(card)
    users = Counter(card for verdict in verdicts.values() for card in dict.fromkeys(verdict.on))
    for role in own:
        held[role] |= {card for card in verdicts[role].on if users[card] == 1}
    ordered = {role: [card for card in dict.fromkeys(verdicts[role].on) if card in held[role]] for role in own}
    return {role: tuple(given[role]) if role in given else tuple(ordered[role]) for role in verdicts}


def turns(held: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Pairs of instances that wait for each other."""
    return [(a, b) for a, b in itertools.combinations(held, 2) if set(held[a]) & set(held[b])]


def residents(held: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """The largest sets of instances that no lease keeps apart."""
    found: list[tuple[str, ...]] = []
    for names in _apart(held):
        if not any(set(names) <= set(larger) for larger in found):
            found.append(names)
    return found


def needs(verdicts: Mapping[str, Verdict], held: Mapping[str, Sequence[str]], role: str) -> tuple[int, ...]:
    """MiB that must be free on each card of ``role`` before it is loaded, its CUDA context already taken off; empty: not known.

    Where others may be loaded already, llama.cpp puts less on the cards that they use and more on the rest: of each card, the
    least that it may come to.
    """
    verdict = verdicts[role]
    if verdict.fits is None:
        return ()
    least = [gpu.weights + gpu.kv + gpu.buffers for gpu in verdict.gpus]
    for names in _apart(held) if len(verdicts) <= MOST else ():
        close = sharing(verdicts, names)
        if role not in close or not together(verdicts, close):
            continue
        for order in itertools.permutations([name for name in close if name != role]):
            parts = after(verdicts, [*order, role])
            assert parts is not None  # together
            least = [min(one, part.weights + part.kv + part.buffers) for one, part in zip(least, parts, strict=True)]
    return tuple(math.ceil(mib) for mib in least)


def _missing(verdicts: Mapping[str, Verdict], held: Mapping[str, set[str]], own: Sequence[str]) -> set[tuple[str, str]]:
    """Leases that are still needed, for the first set of instances that could be let in together and does not fit."""
    for names in residents({role: tuple(cards) for role, cards in held.items()}):
        if together(verdicts, names):
            continue
        pairs = list(itertools.combinations(names, 2))
        # Mostly two of them exclude each other; else each two fit, and not all: then they take turns, too.
        for chosen in ([pair for pair in pairs if not together(verdicts, pair)], pairs):
            more = {(role, card) for pair in chosen for card in shared(verdicts, *pair) for role in pair if role in own}
            if more := {(role, card) for role, card in more if card not in held[role]}:
                return more
    return set()


def _apart(held: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Sets of instances of which no two hold the same, the largest first."""
    for count in range(len(held), 0, -1):
        for names in itertools.combinations(held, count):
            every = [name for role in names for name in dict.fromkeys(held[role])]
            if len(every) == len(set(every)):
                yield names
