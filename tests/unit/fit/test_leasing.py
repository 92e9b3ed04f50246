"""Leases follow from the arithmetic: whoever fits beside everybody waits for nobody, the others take turns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.unit.fit.test_verdicts import CODER, REASONER, SMALL, TINY, verdict

from holdfast.fit import CARDS, Card, Verdict, judge
from holdfast.fit.judge import CONTEXT_MIB
from holdfast.fit.leasing import MOST, leases, needs, residents, turns
from holdfast.fit.residents import after, exclusive, together

T3090, T96 = CARDS["rtx-3090"], CARDS["rtx-pro-6000"]


def pair(card: Card) -> dict[str, Verdict]:
    """The instances of dual_3090 on two of ``card``."""
    return {"coder": verdict(CODER, card, names="left"), "reasoner": verdict(REASONER, card, card, names="left right")}


def test_two_cards_of_24_gib_take_turns() -> None:
    held = leases(pair(T3090))
    assert held == {"coder": ("left",), "reasoner": ("left", "right")}
    assert turns(held) == [("coder", "reasoner")] == exclusive(pair(T3090))
    assert residents(held) == [("coder",), ("reasoner",)]


def test_two_cards_of_96_gib_wait_for_nobody() -> None:
    held = leases(pair(T96))
    assert held == {"coder": (), "reasoner": ("right",)}, "a card that is one's alone is shown as held"
    assert turns(held) == [] == exclusive(pair(T96))
    assert residents(held) == [("coder", "reasoner")]


def test_disjoint_cards_are_held_and_nobody_waits() -> None:
    held = leases({"a": verdict(CODER, T3090, names="left"), "b": verdict(SMALL, T3090, names="right")})
    assert held == {"a": ("left",), "b": ("right",)} and turns(held) == []


def test_whoever_fits_beside_both_holds_nothing() -> None:
    """40 GiB: the two large ones exclude each other, the small one fits beside each."""
    card = CARDS["a100-40gb"]
    found = {name: verdict(model, card, names="card") for name, model in (("a", CODER), ("b", SMALL), ("tiny", TINY))}
    assert leases(found) == {"a": ("card",), "b": ("card",), "tiny": ()}


def test_three_of_which_each_two_fit_take_turns_where_all_three_do_not() -> None:
    card = CARDS["rtx-a6000"]
    found = {name: verdict(CODER, card, names="card", context=14336, kv="f16") for name in "ab"}
    found["c"] = verdict(TINY, card, names="card", context=32768, kv="f16")
    assert exclusive(found) == [] and not together(found, list("abc"))
    held = leases(found)
    assert all(together(found, names) for names in residents(held)) and turns(held)


def test_unknown_models_and_unknown_cards_take_turns() -> None:
    known, unknown = verdict(TINY, T96, names="left"), judge(None, [T96], 4096, names=["left"])
    assert leases({"a": known, "b": unknown}) == {"a": ("left",), "b": ("left",)}
    nobody = {name: judge(None, [None], 4096, names=["left"]) for name in "ab"}
    assert turns(leases(nobody)) == [("a", "b")]
    alone = {**pair(T96), "cpu": judge(None, [], 4096)}
    assert leases(alone) == {"coder": (), "reasoner": ("right",), "cpu": ()}, "the processor is nobody's card"


def test_what_a_person_says_wins() -> None:
    assert leases(pair(T96), {"coder": ["left"], "reasoner": None})["coder"] == ("left",)
    assert turns(leases(pair(T96), {"coder": ["fan"], "reasoner": ["fan"]})) == [("coder", "reasoner")]
    assert leases(pair(T3090), {"coder": [], "reasoner": []}) == {"coder": (), "reasoner": ()}
    # The other one still holds what the two share: nothing is taken from it.
    assert leases(pair(T3090), {"coder": ["memory"], "reasoner": None})["reasoner"] == ("left", "right")


def test_many_instances_hold_all_their_cards() -> None:
    found = {f"i{n}": verdict(TINY, T96, names="card") for n in range(MOST + 1)}
    assert set(leases(found).values()) == {("card",)}
    assert needs(found, leases(found), "i0") == needs({"i0": found["i0"]}, {"i0": ()}, "i0")


def test_memory_that_must_be_free_is_what_is_needed_however_they_were_loaded() -> None:
    found, held = pair(T96), leases(pair(T96))
    alone = [gpu.weights + gpu.kv + gpu.buffers for gpu in found["reasoner"].gpus]
    beside = after(found, ["coder", "reasoner"])
    assert beside is not None
    left, right = needs(found, held, "reasoner")
    assert left == -(-(beside[0].needed - CONTEXT_MIB) // 1) < alone[0], "the coder is on left: llama.cpp puts less there"
    assert right <= alone[1] + 1 and beside[1].weights > found["reasoner"].gpus[1].weights
    # Where they take turns it is what the table shows.
    shown = pair(T3090)["reasoner"].gpus
    assert needs(pair(T3090), leases(pair(T3090)), "reasoner") == tuple(gpu.needed - CONTEXT_MIB for gpu in shown)
    assert needs({"a": judge(None, [T96], 1)}, {"a": ()}, "a") == ()


@st.composite
def machines(draw: Any) -> dict[str, Verdict]:
    """Up to four instances on up to three cards."""
    cards = {name: CARDS[draw(st.sampled_from(["rtx-3090", "rtx-a6000", "rtx-pro-6000"]))] for name in ("x", "y", "z")}
    found = {}
    for number in range(draw(st.integers(1, 4))):
        on = draw(st.lists(st.sampled_from(list(cards)), min_size=1, max_size=2, unique=True))
        model = draw(st.sampled_from([CODER, REASONER, TINY, None]))
        known = [cards[name] for name in on]
        one = verdict(model, *known, names=" ".join(on)) if model else judge(None, known, 4096, names=on)
        if one.fits is not False:
            found[f"i{number}"] = one
    return found


def in_the_way(found: dict[str, Verdict], one: str, other: str) -> bool:
    """Whether there are instances, these two among them, that do not all fit."""
    rest = [name for name in found if name not in (one, other)]
    sets = (more for count in range(len(rest) + 1) for more in itertools.combinations(rest, count))
    return any(not together(found, [one, other, *more]) for more in sets)


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(machines())
def test_whoever_no_lease_keeps_apart_fits_together(found: dict[str, Verdict]) -> None:
    held = leases(found)
    for names in residents(held):
        for count in range(1, len(names) + 1):
            assert all(together(found, some) for some in itertools.combinations(names, count)), (names, held)
    for role, names in held.items():
        assert set(names) <= set(found[role].on)
        for card in names:
            others = [other for other in found if other != role and card in found[other].on]
            assert not others or any(in_the_way(found, role, other) for other in others), f"{role} holds {card} for nothing"


@pytest.mark.parametrize("card", ["rtx-3090", "rtx-pro-6000"])
def test_every_instance_can_be_loaded_alone(card: str) -> None:
    found = pair(CARDS[card])
    for role in found:
        assert all(
            need <= gpu.card.free_mib for need, gpu in zip(needs(found, leases(found), role), found[role].gpus, strict=True)
        )
