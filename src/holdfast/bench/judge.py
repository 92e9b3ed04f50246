"""From what was seen on the machine to a verdict for each instance (pure)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.bench.evidence import Seen, seen
from holdfast.bench.proofs import Proof, proofs, strangers
from holdfast.bench.reasons import Reason, reasons, unproven, unreachable
from holdfast.bench.statistics import Ratio, Spread, ratio, spread
from holdfast.fit import Card, Shape, Verdict
from holdfast.fit.roofline import speed

# What to aim at, and what is a fault. Against the bare llama-server it is none where the same Ollama without our part is as
# far below it: on two processors plain Ollama had 0.82 of its decode rate, since the programs that hand 1,200 tokens a second
# on compete there with the one that computes them. That is Ollama's price, at a speed that no card has with a real model.
TARGETS = {("bare", "decode"): 0.98, ("plain", "decode"): 0.98, ("plain", "wall"): 0.97}
RED = 0.9
CROWDED = 0.15  # of the processor: what others use of it then decides who is faster
_WAITED_S = 1.0  # more than its own load, prompt and decode took: somebody else was first


@dataclass(frozen=True)
class Point:
    """One prompt length. ``length`` as wanted, ``context`` tokens in the middle of the answer; rates in tokens a second,
    ``first_s`` to the first token. ``roofline``: the most that the cards' memory allows there; 0: not known."""

    length: int
    context: int
    prompt: Spread
    decode: Spread
    first_s: Spread
    roofline: float = 0.0

    @property
    def fraction(self) -> float | None:
        """Of the roofline."""
        return self.decode.median / self.roofline if self.roofline else None


@dataclass(frozen=True)
class Ceiling:
    """What the roofline is computed from."""

    shape: Shape
    cards: tuple[Card, ...]
    kv_type: str

    def at(self, context: int) -> float:
        """Tokens a second."""
        return speed(self.shape, self.cards, context, self.kv_type)


@dataclass(frozen=True)
class Result:
    """One instance. ``state``: ok, below, not on its cards, not proven, does not answer, or not judged (``why`` says why)."""

    role: str
    model: str
    on: tuple[str, ...]
    state: str
    why: str
    points: tuple[Point, ...] = ()
    proofs: tuple[Proof, ...] = ()
    cards: tuple[Seen, ...] = ()
    reasons: tuple[Reason, ...] = ()
    load_s: float = 0.0
    waited: int = 0
    short: int = 0
    ceiling: Ceiling | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def fraction(self) -> float | None:
        """The least over all prompt lengths."""
        return min((f for point in self.points if (f := point.fraction) is not None), default=None)

    @property
    def failed(self) -> bool:
        return self.state not in ("ok", "not judged")


def ceiling(verdict: Verdict) -> Ceiling | None:
    """None where the model's shape or its cards are not known."""
    if verdict.shape is None or not verdict.gpus:
        return None
    return Ceiling(verdict.shape, tuple(gpu.card for gpu in verdict.gpus), verdict.demand.kv_type)


def judge(
    role: str, model: str, found: Mapping[str, Any], planned: Mapping[str, str], verdict: Verdict, min_roofline: float,
    tokens: int,
) -> Result:  # fmt: skip
    """``found``: what the machine said of this instance; ``planned``: its cards, name -> PCI address."""
    on = tuple(planned)
    if found["problem"]:
        return Result(role, model, on, "does not answer", found["problem"], reasons=(unreachable(role),))
    top = ceiling(verdict)
    points = tuple(_points(found["runs"], top))
    held = tuple(proofs(found, model, planned))
    cards = tuple(seen(found["looks"], planned)) if planned else ()
    others = strangers(found["looks"], planned) if planned else []
    waited = sum(run["wall_s"] - run["load_s"] - run["prompt_s"] - run["decode_s"] > _WAITED_S for run in found["runs"])
    least = min((f for point in points if (f := point.fraction) is not None), default=None)
    below = least is not None and least < min_roofline
    state, why = "ok", ""
    if any(proof.holds is False for proof in held):
        state, why = "not on its cards", next(f"{p.name}: {p.words}" for p in held if p.holds is False)
    elif any(proof.holds is None for proof in held):
        state, why = "not proven", next(f"{p.name}: {p.words}" for p in held if p.holds is None)
    elif below:
        state = "below"
        why = f"{100 * (least or 0):.0f} % of the roofline, and min_roofline asks for {100 * min_roofline:.0f} %"
    elif least is None:
        state, why = "not judged", verdict.reason or "no ceiling is known for it"
    first = points[0].fraction
    why_slow = reasons(
        held, others, cards, {gpu.name: gpu.card.name for gpu in verdict.gpus}, waited=waited, runs=len(found["runs"]),
        long_only=below and first is not None and first >= min_roofline,
    ) if below or state == "not on its cards" else []  # fmt: skip
    why_slow += unproven(role, held)
    return Result(
        role, model, on, state, why, points, held, cards, tuple(why_slow), found["load"]["first_s"], waited,
        sum(run["tokens"] < tokens for run in found["runs"]), top,
        tuple(f"another process on {one['card']}: {one['program']} (pid {one['pid']})" for one in others),
    )  # fmt: skip


def _points(runs: Sequence[Mapping[str, float]], top: Ceiling | None) -> list[Point]:
    out = []
    for length in sorted({int(run["length"]) for run in runs}):
        mine = [run for run in runs if run["length"] == length]
        context = round(spread([run["prompt_tokens"] + run["tokens"] / 2 for run in mine]).median)
        out.append(Point(
            length=length, context=context,
            prompt=spread([run["prompt_tokens"] / run["prompt_s"] for run in mine if run["prompt_s"]] or [0.0]),
            decode=spread([run["tokens"] / run["decode_s"] for run in mine if run["decode_s"]] or [0.0]),
            first_s=spread([run["first_s"] for run in mine]), roofline=top.at(context) if top else 0.0,
        ))  # fmt: skip
    return out


@dataclass(frozen=True)
class HandOver:
    """Seconds from the request to the first token, while the other one had the cards and was idle."""

    before: str
    after: str
    seconds: Spread


def hand_overs(found: Sequence[Mapping[str, Any]]) -> list[HandOver]:
    """By direction."""
    ordered = sorted(found, key=lambda one: (one["from"], one["to"]))
    return [
        HandOver(before, after, spread([one["first_s"] for one in group]))
        for (before, after), group in itertools.groupby(ordered, key=lambda one: (one["from"], one["to"]))
    ]


@dataclass(frozen=True)
class Cost:
    """The unit against something else started by hand: ``against`` plain (the same Ollama without our part) or bare (its
    llama-server alone); ``by`` decode (the servers' own rate) or wall (tokens over the whole request). ``target`` 0: none.
    ``others``: the share of the processor that went to others meanwhile. ``ollama``: against bare, what the plain Ollama
    reaches of it."""

    role: str
    against: str
    by: str
    ratio: Ratio
    target: float
    others: float = 0.0
    ollama: Ratio | None = None

    @property
    def state(self) -> str:
        """Judged is what has a target; red where the whole interval is below RED: on a busy machine one figure says little.
        What Ollama itself costs is no fault of ours, and is said.
        """
        if not self.target:
            return "for information"
        if self.others > CROWDED:
            return f"not judged: others used {100 * self.others:.0f} % of the processor meanwhile"
        if self.ratio.median >= self.target:
            return "ok"
        if self.ollama and self.ollama.low < RED:
            return f"below the target; the same Ollama without our part has {self.ollama.median:.3f} of it"
        return "red" if self.ratio.high < RED else "below the target"


def costs(found: Mapping[str, Any]) -> list[Cost]:
    """Of one comparison."""
    out: list[Cost] = []

    def rates(way: str, by: str) -> list[float]:
        return [float(one[way][by]) for one in found["rounds"]]

    for against, by in itertools.product(("bare", "plain"), ("decode", "wall")):
        if found["rounds"]:
            theirs = rates(against, by)
            ollama = ratio(rates("plain", by), theirs) if against == "bare" else None
            ours, target = ratio(rates("unit", by), theirs), TARGETS.get((against, by), 0.0)
            out.append(Cost(found["role"], against, by, ours, target, found["others"], ollama))
    return out
