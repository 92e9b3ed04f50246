"""Does a model fit on these cards with these settings: the arithmetic, card by card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast.fit import ggml, memory
from holdfast.fit.cards import CONTEXT_MIB, Card
from holdfast.fit.shape import Shape

MIB = 1 << 20
# llama.cpp's own margin for a device (LLAMA_ARG_FIT_TARGET). Ollama's looks at the cards make a short-lived CUDA context of a
# few hundred MiB even while a model loads, and the matrices' scratch memory is in no buffer: that is what it is for.
MARGIN_MIB = 1024
STEP = memory.PAD  # of a context: the server rounds up to it, so nothing in between saves anything


@dataclass(frozen=True)
class Demand:
    """What is asked: ``context`` tokens for each of ``parallel`` requests, the cache in ``kv_type``, at most ``batch`` tokens of
    a prompt at once."""

    context: int
    parallel: int = 1
    kv_type: str = "f16"
    flash_attention: bool = True
    batch: int = memory.BATCH


@dataclass(frozen=True)
class Gpu:
    """One card's part of a verdict, in MiB; all parts, ``reserve`` and ``spare`` together are the card's memory.

    ``spare`` is what is left after everything, the margin included; below zero it does not fit.
    """

    name: str
    card: Card
    layers: int
    weights: float
    kv: float
    buffers: float
    context: float
    margin: float
    reserve: float

    @property
    def needed(self) -> int:
        """MiB that must be free on the card before the server starts: all but the margin and the driver's share."""
        return math.ceil(self.weights + self.kv + self.buffers + self.context)

    @property
    def spare(self) -> float:
        """MiB that are left when all of it is on the card; below 0 it does not fit."""
        return self.card.vram_mib - self.reserve - self.weights - self.kv - self.buffers - self.context - self.margin


@dataclass(frozen=True)
class Verdict:
    """Whether it fits (``fits`` None: not known, ``reason`` says why), and the numbers.

    ``on``: the names of its cards; ``gpus``: what lies on each, empty where it is not known.
    ``largest_context``: the largest multiple of STEP that fits with the other settings as they are, 0 for none.
    ``speed``: tokens a second at an empty context, ``speed_full`` at a full one: upper limits (holdfast.fit.roofline).
    """

    fits: bool | None
    shape: Shape | None
    demand: Demand
    on: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()
    largest_context: int = 0
    speed: float = 0.0
    speed_full: float = 0.0
    reason: str = ""

    @property
    def needed(self) -> tuple[int, ...]:
        """MiB needed on each card, in order; empty where it is not known."""
        return tuple(gpu.needed for gpu in self.gpus) if self.fits is not None else ()


def judge(
    shape: Shape | None, cards: Sequence[Card | None], context: int, parallel: int = 1, kv_type: str = "f16",
    flash_attention: bool = True, names: Sequence[str] = (), batch: int = memory.BATCH,
) -> Verdict:  # fmt: skip
    """The verdict for ``shape`` on ``cards``, in the order in which the server sees them; ``names`` are the site's for them.

    An unknown shape or card gives a verdict that says so and no numbers.
    """
    from holdfast.fit.roofline import speed

    demand = Demand(context, parallel, kv_type, flash_attention, batch)
    known = [card for card in cards if card is not None]
    names = tuple(names or [str(number) for number in range(len(cards))])
    reason = _not_known(shape, cards, names)
    if shape is None or reason:
        return Verdict(None, shape, demand, names, reason=reason)
    gpus = place(shape, known, demand, names)
    problem = _impossible(shape, demand)
    return Verdict(
        fits=not problem and all(gpu.spare >= 0 for gpu in gpus), shape=shape, demand=demand, on=names, gpus=gpus,
        largest_context=0 if problem else largest(shape, known, demand), reason=problem,
        speed=speed(shape, known, 0, kv_type), speed_full=speed(shape, known, min(context, shape.context), kv_type),
    )  # fmt: skip


def place(shape: Shape, cards: Sequence[Card], demand: Demand, names: Sequence[str] = ()) -> tuple[Gpu, ...]:
    """What lies on each card. A context beyond the trained one is cut to it, as Ollama does (server/sched.go)."""
    context = min(demand.context, shape.context)
    where = memory.split(len(shape.layers), [card.free_mib * MIB for card in cards])
    out = []
    for index, card in enumerate(cards):
        mine = [layer for layer, there in zip(shape.layers, where, strict=False) if there == index]
        last = where[-1] == index
        kv = sum(memory.cache(layer, context, demand.parallel, demand.kv_type, demand.batch) for layer in mine)
        scratch = memory.buffers(
            shape, mine, last, len(cards), context, demand.parallel, demand.kv_type, demand.flash_attention, demand.batch
        )
        weights = sum(layer.weights for layer in mine) + (shape.output if last else 0)
        out.append(Gpu(
            name=names[index] if names else str(index), card=card, layers=len(mine), weights=weights / MIB, kv=kv / MIB,
            buffers=scratch / MIB, context=CONTEXT_MIB, margin=MARGIN_MIB, reserve=card.reserve_mib,
        ))  # fmt: skip
    return tuple(out)


def holds(shape: Shape, cards: Sequence[Card], demand: Demand) -> bool:
    """Whether everything fits, each card's margin included."""
    return not _impossible(shape, demand) and all(gpu.spare >= 0 for gpu in place(shape, cards, demand))


def largest(shape: Shape, cards: Sequence[Card], demand: Demand) -> int:
    """The largest context, a multiple of STEP, that fits with the rest of ``demand``; 0 where none does.

    By bisection: every part grows with the context, and the split over the cards does not depend on it.
    """
    low, high = 0, shape.context // STEP
    while low < high:
        middle = (low + high + 1) // 2
        if holds(shape, cards, replace(demand, context=middle * STEP)):
            low = middle
        else:
            high = middle - 1
    return low * STEP


def _not_known(shape: Shape | None, cards: Sequence[Card | None], names: Sequence[str]) -> str:
    if not cards:
        return "no card: it runs on the processor"
    if shape is None:
        return "the model's shape is neither in the lock nor in models.shapes"
    if shape.unknown:
        return shape.unknown
    missing = [name for name, card in zip(names, cards, strict=True) if card is None]
    return f"which card is meant is not known: {', '.join(missing)}" if missing else ""


def _impossible(shape: Shape, demand: Demand) -> str:
    """What llama.cpp refuses whatever the memory."""
    if demand.kv_type != "f16" and not demand.flash_attention:
        return f"kv_type {demand.kv_type} needs flash attention"
    if shape.head % ggml.block(demand.kv_type):
        return f"kv_type {demand.kv_type} needs heads of a multiple of {ggml.block(demand.kv_type)} elements, not {shape.head}"
    return ""
