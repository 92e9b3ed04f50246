"""The profiles' models on the cards that people have, what is said where something is not known, and who shares a card."""

from __future__ import annotations

import pytest

from holdfast.fit import CARDS, Card, Verdict, by_device, judge
from holdfast.fit.cards import CONTEXT_MIB, free_mib
from holdfast.fit.judge import Demand
from holdfast.fit.lock import shapes
from holdfast.fit.nearest import nearest
from holdfast.fit.residents import exclusive, together
from holdfast.fit.shape import Shape

CODER, REASONER, SMALL, TINY = "qwen2.5-coder:32b", "deepseek-r1:70b", "deepseek-r1:32b", "qwen2.5-coder:1.5b"
T3090, T5090, T3060 = CARDS["rtx-3090"], CARDS["rtx-5090"], CARDS["rtx-3060"]


def verdict(model: str, *cards: Card, context: int = 16384, kv: str = "q8_0", names: str = "") -> Verdict:
    return judge(shapes()[model], cards, context, kv_type=kv, names=names.split())


@pytest.mark.parametrize(
    ("model", "cards", "fits"),
    [
        (CODER, [T3090], True),
        (REASONER, [T3090], False),
        (REASONER, [T3090] * 2, True),
        (REASONER, [T3090] * 3, True),
        (SMALL, [T3090], True),
        (CODER, [T5090], True),
        (REASONER, [T5090], False),
        (REASONER, [T5090, T3090], True),
        (REASONER, [T3090, T3060], False),
        (CODER, [T3060], False),
        (CODER, [T3060] * 2, False),
        (CODER, [T3090, T3060], True),
        (TINY, [T3060], True),
    ],
)
def test_cards_that_people_have(model: str, cards: list[Card], fits: bool) -> None:
    assert verdict(model, *cards).fits is fits


def test_contexts_on_one_and_two_3090s() -> None:
    """With the 23,982 MiB that drivers of 2025 left free: 16,384 and 30,720, 13,312 and 25,600 were computed by hand, with
    estimates of the buffers."""
    old = Card("RTX 3090", 24576, 23982, 936)
    assert verdict(CODER, old, kv="f16").largest_context in range(16128, 16640)
    assert verdict(CODER, old).largest_context in range(29696, 30976)
    assert verdict(REASONER, old, old, kv="f16").largest_context in range(13312, 16385)
    assert verdict(REASONER, old, old).largest_context in range(25600, 28673)


def test_mixed_cards_take_layers_by_their_memory() -> None:
    found = verdict(REASONER, T5090, T3090)
    assert found.gpus[0].layers > found.gpus[1].layers > 0
    assert found.gpus[0].spare > 0 and found.gpus[1].spare > 0


def test_a_context_beyond_the_trained_one_costs_no_more() -> None:
    assert verdict(CODER, T5090, context=32768).gpus == verdict(CODER, T5090, context=131072).gpus


@pytest.mark.parametrize(
    ("shape", "cards", "word"),
    [
        (None, [T3090], "lock"),
        (Shape("deepseek2", (), 0, 0, 0, 0, 0, 0, 0, 0, unknown="latent attention"), [T3090], "latent"),
        ("known", [T3090, None], "right"),
        ("known", [], "processor"),
    ],
)
def test_what_is_not_known_is_said(shape: Shape | str | None, cards: list[Card | None], word: str) -> None:
    given = shapes()[CODER] if isinstance(shape, str) else shape
    found = judge(given, cards, 16384, names=["left", "right"][: len(cards)])
    assert found.fits is None and word in found.reason
    assert found.gpus == () and found.needed == () and found.largest_context == 0


def test_what_llama_cpp_refuses_does_not_fit() -> None:
    assert judge(shapes()[CODER], [T5090], 4096, kv_type="q8_0", flash_attention=False).fits is False
    assert judge(shapes()[CODER], [T5090], 4096, kv_type="f16", flash_attention=False).fits is True


def test_nearest_settings() -> None:
    shape = shapes()
    assert nearest(shape[CODER], {"left": T3090}, Demand(32768, 1, "q8_0")) == {"context": 29184}
    assert nearest(shape[REASONER], {"left": T3090}, Demand(16384, 1, "q8_0")) == {}
    with_other = nearest(shape[REASONER], {"left": T3090}, Demand(16384, 1, "q8_0"), {"right": T3090})
    assert with_other == {"gpus": ["left", "right"]}


def test_the_two_models_of_two_3090s_exclude_each_other() -> None:
    found = {
        "coder": verdict(CODER, T3090, names="left"),
        "reasoner": verdict(REASONER, T3090, T3090, names="left right"),
        "small": verdict(TINY, T3090, names="right"),
    }
    assert ("coder", "reasoner") in exclusive(found)
    assert ("coder", "small") not in exclusive(found)
    assert together(found, ("coder", "small")) and not together(found, tuple(found))
    assert exclusive(found | {"reasoner": verdict(TINY, T3090, T3090, names="left right")}) == []


def test_small_models_share_a_card_until_it_is_full() -> None:
    found = {f"i{n}": verdict(TINY, T3060, names="card", context=32768, kv="f16") for n in range(8)}
    assert exclusive(found) == []
    assert together(found, list(found)[:2])
    assert not together(found, list(found)[:6]), "six models of 2 GiB do not share a card of 12"


def test_nobody_shares_a_card_with_an_unknown_model() -> None:
    known, unknown = verdict(TINY, T3090, names="left"), judge(None, [T3090], 4096, names=["left"])
    assert exclusive({"a": known, "b": unknown}) == [("a", "b")]


def test_cards() -> None:
    assert by_device("2204") == by_device("0x2204") == "rtx-3090" and by_device("ffff") == ""
    numbers = [device for card in CARDS.values() for device in card.devices]
    assert len(numbers) == len(set(numbers))
    for key, card in CARDS.items():
        assert 0 < card.reserve_mib < card.vram_mib * 0.05, key
        # The estimate for cards of which nobody published it, against those of which somebody did.
        assert abs(card.free_mib - free_mib(card.vram_mib)) < 400, key
    assert T3090.vram_mib == 24576 and T3090.with_display().free_mib < T3090.free_mib
    assert CONTEXT_MIB == 24124 - 23853
