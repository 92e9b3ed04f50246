"""Which model runs where: the machines that people have, and any others."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fit.machines import board, slot, slots

from holdfast.cli import init_cards
from holdfast.fit import judge
from holdfast.fit.choose import TARGET, USEFUL, Choice, choose
from holdfast.fit.lock import models_for, shapes
from holdfast.fit.reasons import idle, reasons
from holdfast.fit.slot import Board, Slot

SHAPES = shapes()
CODERS = {name: SHAPES[name] for name in models_for("coder")}
REASONERS = {name: SHAPES[name] for name in models_for("reasoner")}
BIG, TINY = "qwen2.5-coder:32b", "qwen2.5-coder:1.5b"
DEEP, MIDDLE, SMALL = "deepseek-r1:70b", "deepseek-r1:32b", "deepseek-r1:1.5b"


def chosen(boards: list[Board]) -> Choice:
    return choose(boards, CODERS, REASONERS)


def buses(boards: tuple[Board, ...]) -> list[int]:
    return [int(found.address[5:7], 16) for found in boards]


@pytest.mark.parametrize(
    ("keys", "coder", "on", "reasoner", "over", "turns"),
    [
        (["rtx-3090"] * 2, BIG, [1], DEEP, [1, 2], True),
        (["rtx-3090"], BIG, [1], MIDDLE, [1], True),
        (["rtx-3090"] * 3, BIG, [1], DEEP, [2, 3], False),
        (["rtx-3090"] * 6, BIG, [1], DEEP, [2, 3], False),
        (["rtx-5090"], BIG, [1], MIDDLE, [1], True),
        (["rtx-3090", "rtx-5090"], BIG, [2], DEEP, [2, 1], True),
        (["rtx-3090", "rtx-3060"], BIG, [1], MIDDLE, [1], True),
        (["rtx-3060"], "qwen2.5-coder:14b", [1], "deepseek-r1:14b", [1], True),
        (["rtx-3070"], "qwen2.5-coder:7b", [1], "deepseek-r1:7b", [1], True),
        (["rtx-4070-ti-super"], "qwen2.5-coder:14b", [1], "deepseek-r1:14b", [1], True),
        (["rtx-3090", "rtx-3070"], BIG, [1], MIDDLE, [1], True),
        (["rtx-3060"] * 2, BIG, [1, 2], MIDDLE, [1, 2], True),
        (["rtx-a6000"], BIG, [1], DEEP, [1], True),
        (["h200"], BIG, [1], DEEP, [1], False),
        (["rtx-pro-6000", "rtx-3090"], BIG, [1], DEEP, [1], False),
    ],
)
def test_machines_that_people_have(
    keys: list[str], coder: str, on: list[int], reasoner: str, over: list[int], turns: bool
) -> None:
    found = chosen([board(bus, key) for bus, key in enumerate(keys, 1)])
    assert (found.coder.model, buses(found.coder.boards)) == (coder, on)
    assert (found.reasoner.model, buses(found.reasoner.boards), found.turns) == (reasoner, over, turns)


def test_without_a_card_the_smallest_models_run_on_the_processor() -> None:
    found = chosen([])
    assert (found.coder.model, found.coder.boards, found.reasoner.model, found.reasoner.boards) == (TINY, (), SMALL, ())
    assert "there is no card" in reasons(found, {})["coder"]


def test_a_card_too_small_for_anything_is_left_idle() -> None:
    # 1.5b needs about 1.7 GiB and 1 GiB to spare.
    tiny = init_cards.said(slot(1, ""), "2048")
    found = chosen([tiny])
    assert found.coder.boards == found.reasoner.boards == () and found.unused == (tiny,)
    assert f"{TINY} do not fit on any card" in reasons(found, {tiny.address: "card"})["coder"]
    assert "left idle" in idle(found, {tiny.address: "card"})[0]


@pytest.mark.parametrize(
    ("first", "second", "wins", "because"),
    [
        ({"monitor": True}, {}, 2, "without a display"),
        ({}, {"monitor": True}, 1, "without a display"),
        ({"boot_vga": True}, {"width": 4}, 2, "without a display"),
        ({"boot_vga": True, "monitor": False, "width": 8}, {"monitor": False, "width": 4}, 1, "better link"),
        ({"width": 4}, {"width": 16}, 2, "better link (PCIe 4.0 x16, not PCIe 4.0 x4"),
        ({"speed": 8.0}, {"speed": 16.0, "width": 8}, 1, "better link"),
        ({"speed": 8.0, "width": 16}, {"speed": 16.0, "width": 16}, 2, "better link"),
        ({"width_now": 1}, {}, 2, "none has a better link"),
        ({"speed": 0.0}, {}, 2, "better link"),
        ({}, {}, 1, "none has a better link"),
    ],
)
def test_the_coders_card(first: dict[str, object], second: dict[str, object], wins: int, because: str) -> None:
    boards = [board(1, **first), board(2, **second)]
    found = chosen(boards)
    assert buses(found.coder.boards) == [wins]
    names = {one.address: f"card{one.address[6]}" for one in boards}
    assert because in reasons(found, names)["coder"] and f"on card{wins}" in reasons(found, names)["coder"]


def test_a_larger_model_counts_for_more_than_a_display() -> None:
    found = chosen([board(1, "rtx-3060"), board(2, "rtx-3090", monitor=True)])
    assert (found.coder.model, buses(found.coder.boards)) == (BIG, [2])


def test_a_smaller_reasoner_is_explained() -> None:
    found = chosen([board(1)])
    assert f"{DEEP} does not fit" in reasons(found, {"0000:01:00.0": "card"})["reasoner"]


def test_the_context_is_what_serves_or_what_fits() -> None:
    assert chosen([board(1)]).coder.context == TARGET
    two = chosen([board(1, "rtx-3060"), board(2, "rtx-3060")])
    assert USEFUL <= two.coder.context < TARGET and two.coder.context % 1024 == 0 and two.coder.kv_type == "q8_0"


def test_the_cache_in_4_bits_where_the_model_would_not_be_possible_otherwise() -> None:
    found = chosen([init_cards.said(slot(1, ""), "21500")])
    assert (found.coder.model, found.coder.kv_type) == (BIG, "q4_0") and found.coder.context >= USEFUL
    assert "4 bits" in reasons(found, {"0000:01:00.0": "card"})["coder"]


@settings(max_examples=25, deadline=None)
@given(slots(), st.integers(0, 5))
def test_any_machine(found: list[Slot], seed: int) -> None:
    boards = list(init_cards.identify(found, {}, lambda slot: "").boards)
    choice = chosen(boards)
    for seat in (choice.coder, choice.reasoner):
        assert bool(seat.boards) or seat.model in (TINY, SMALL)
        if seat.boards:
            verdict = judge(SHAPES[seat.model], [b.card for b in seat.boards], seat.context, 1, seat.kv_type)
            assert verdict.fits and min(USEFUL, SHAPES[seat.model].context) <= seat.context <= TARGET
            assert seat.context <= seat.largest
    assert set(choice.boards) == set(boards) and len(choice.boards) == len(boards)
    equals = [one for one in choice.coder.rivals if one.card.free_mib >= choice.coder.boards[0].card.free_mib]
    if choice.coder.boards and choice.coder.boards[0].display:
        assert all(one.display for one in equals), "a card as large without a display was passed over"
    # The order in which the bus is read says nothing.
    random.Random(seed).shuffle(boards)
    assert chosen(boards) == choice
