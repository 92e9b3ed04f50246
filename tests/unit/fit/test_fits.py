"""What must hold for every model, every card and every setting: tried on shapes that nobody listed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.fit.cards import CARDS, Card, custom
from holdfast.fit.judge import MIB, STEP, Demand, holds, judge, largest, place
from holdfast.fit.memory import split
from holdfast.fit.nearest import LEAST, nearest
from holdfast.fit.roofline import speed
from holdfast.fit.shape import Layer, Shape

MANY = settings(max_examples=60, deadline=None)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Dense, with experts, with windows; from a hundred MiB to some eighty GiB."""
    kinds = []
    window = draw(st.sampled_from([0, 0, 128, 1024, 4096]))
    for _ in range(draw(st.integers(1, 3))):
        weights = draw(st.integers(1 * MIB, 900 * MIB))
        kv = draw(st.sampled_from([128, 256, 512, 1024, 4096]))
        share = draw(st.sampled_from([1, 1, 4, 8]))
        kinds.append(Layer(weights, weights // share, kv, kv, draw(st.sampled_from([0, window]))))
    layers = tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=96)))
    experts = draw(st.sampled_from([0, 0, 8, 128]))
    return Shape(
        architecture="any", layers=layers,
        context=draw(st.sampled_from([2048, 8192, 32768, 131072, 262144]) | st.integers(512, 300_000)),
        width=draw(st.integers(8, 96)) * 128, vocabulary=draw(st.integers(32000, 262144)), heads=draw(st.integers(8, 96)),
        head=draw(st.sampled_from([64, 96, 128, 256])), feed_forward=draw(st.integers(2048, 32768)),
        output=draw(st.integers(1, 1500 * MIB)), embedding=1, experts=experts, experts_used=min(experts, 8),
    )  # fmt: skip


cards = st.one_of(
    st.sampled_from(list(CARDS.values())),
    st.builds(custom, st.integers(6 * 1024, 100 * 1024), st.integers(100, 4000)),
)
hands = st.lists(cards, min_size=1, max_size=4)
demands = st.builds(
    Demand,
    context=st.integers(512, 262144),
    parallel=st.integers(1, 4),
    kv_type=st.sampled_from(["f16", "q8_0", "q4_0"]),
    batch=st.sampled_from([128, 512, 512, 2048]),
) | st.builds(Demand, context=st.integers(512, 65536), flash_attention=st.just(False))


def applied(demand: Demand, change: dict[str, Any]) -> Demand:
    return replace(demand, **{key: value for key, value in change.items() if key != "gpus"})


@MANY
@given(shapes(), hands, demands)
def test_the_parts_are_the_whole(shape: Shape, hand: list[Card], demand: Demand) -> None:
    found = judge(
        shape, hand, demand.context, demand.parallel, demand.kv_type, demand.flash_attention, batch=demand.batch
    )
    assert sum(gpu.layers for gpu in found.gpus) == len(shape.layers)
    assert abs(sum(gpu.weights for gpu in found.gpus) * MIB - shape.weights) < 1
    for gpu in found.gpus:
        parts = gpu.weights + gpu.kv + gpu.buffers + gpu.context + gpu.margin + gpu.reserve + gpu.spare
        assert abs(parts - gpu.card.vram_mib) < 1e-6
        assert min(gpu.weights, gpu.kv, gpu.buffers) >= 0 and gpu.needed >= gpu.weights
    assert found.fits is all(gpu.spare >= 0 for gpu in found.gpus)
    assert found.fits is holds(shape, hand, demand)


@MANY
@given(shapes(), hands, demands, st.integers(1, 40))
def test_more_context_never_needs_less(shape: Shape, hand: list[Card], demand: Demand, steps: int) -> None:
    less, more = (
        place(shape, hand, replace(demand, context=c)) for c in (demand.context, demand.context + steps * STEP)
    )
    for one, other in zip(less, more, strict=True):
        assert other.kv >= one.kv and other.buffers >= one.buffers and other.weights == one.weights


@MANY
@given(shapes(), hands, demands)
def test_the_largest_context_fits_and_one_step_more_does_not(shape: Shape, hand: list[Card], demand: Demand) -> None:
    most = largest(shape, hand, demand)
    assert most % STEP == 0 and most <= shape.context
    if most:
        assert holds(shape, hand, replace(demand, context=most))
    if most + STEP <= shape.context:
        assert not holds(shape, hand, replace(demand, context=most + STEP))


@MANY
@given(shapes(), st.lists(cards, min_size=1, max_size=2), st.lists(cards, max_size=2), demands)
def test_the_nearest_settings_fit_and_one_step_more_does_not(
    shape: Shape, own: list[Card], others: list[Card], demand: Demand
) -> None:
    mine = {f"own{n}": card for n, card in enumerate(own)}
    free = {f"free{n}": card for n, card in enumerate(others)}
    if holds(shape, own, demand):
        assert nearest(shape, mine, demand, free) == {}
        return
    change = nearest(shape, mine, demand, free)
    used = [(mine | free)[name] for name in change.get("gpus", mine)]
    if not change:
        everything = list((mine | free).values())
        assert not holds(shape, everything, Demand(LEAST, 1, "q4_0")) or shape.head % 32
        return
    assert holds(shape, used, applied(demand, change))
    if "context" in change:
        assert LEAST <= change["context"] < demand.context
        assert not holds(shape, used, applied(demand, change | {"context": change["context"] + STEP}))


@MANY
@given(shapes(), st.lists(st.integers(1, 100 << 30), min_size=1, max_size=6))
def test_layers_stay_in_order(shape: Shape, free: list[int]) -> None:
    where = split(len(shape.layers), free)
    assert where == sorted(where) and len(where) == len(shape.layers) + 1 and where[-1] < len(free)


@MANY
@given(shapes(), hands, st.integers(256, 8192))
def test_the_speed_limit_is_the_cards(shape: Shape, hand: list[Card], context: int) -> None:
    empty, full = speed(shape, hand, 0, "f16"), speed(shape, hand, context, "f16")
    assert 0 < full < empty
    read = sum(layer.active for layer in shape.layers) + shape.output
    rates = [card.bandwidth_gb_s * 1e9 for card in hand]
    assert min(rates) / read * 0.999 <= empty <= max(rates) / read * 1.001
    faster = [replace(card, bandwidth_gb_s=2 * card.bandwidth_gb_s) for card in hand]
    assert abs(speed(shape, faster, 0, "f16") - 2 * empty) < 1e-6 * empty
