"""The table of `plan`: what lies on which card, what is left, and how fast it can be at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.fit import Gpu, Verdict, leasing
from holdfast.fit.residents import exclusive, sharing, together
from holdfast.settings.fitting import Asked

_COLUMNS = (
    "instance", "GPU", "card", "PCI address", "weights", "KV", "buffers", "spare", "context", "verdict", "tokens/s",
)  # fmt: skip
_NUMBERS = {"weights", "KV", "buffers", "spare"}
WORDS = {True: "fits", False: "does not fit", None: "unknown"}


def data(asked: Asked) -> dict[str, Any]:
    """The verdicts as an object of `--json`; MiB, tokens, tokens a second."""
    found, held = asked.verdicts, asked.leases
    return {
        "instances": {role: _facts(asked, role, verdict) | {"lease": list(held[role])} for role, verdict in found.items()},
        "exclude_each_other": [list(pair) for pair in exclusive(found)],
        "take_turns": [list(pair) for pair in leasing.turns(held)],
        "resident_together": [list(group) for group in leasing.residents(held)],
    }


def lines(asked: Asked) -> list[str]:
    """The same for a person: one row for each card of each instance, then who shares the cards with whom."""
    found = asked.verdicts
    rows = [row for role, verdict in found.items() for row in _rows(asked, role, verdict)]
    widths = [max(len(row[n]) for row in [_COLUMNS, *rows]) for n in range(len(_COLUMNS))]
    out = []
    for row in (_COLUMNS, *rows):
        cells = zip(row, widths, _COLUMNS, strict=True)
        aligned = [text.rjust(width) if name in _NUMBERS else text.ljust(width) for text, width, name in cells]
        out.append("  ".join(aligned).rstrip())
    for role, verdict in found.items():
        if verdict.reason and verdict.on:
            advice = asked.advice(role)
            out += [f"{role}: {verdict.reason}", *([f"  Fix: {advice}"] if advice else [])]
    if any(verdict.gpus for verdict in found.values()):
        margin = next(verdict.gpus[0].margin for verdict in found.values() if verdict.gpus)
        out.append(
            "MiB; buffers: for `batch` tokens of a prompt at once, no client can raise it. spare: with the driver's share, the "
            f"CUDA context and a margin of {margin:.0f} taken off. context: as set, and the largest that fits. tokens/s: the "
            "most that the cards' memory allows, at an empty and at a full context."
        )
    out += _sharing(found, asked.leases)
    return out


def _sharing(found: Mapping[str, Verdict], held: leasing.Leases) -> list[str]:
    """Which instances take turns, and which share a card and may stay loaded together: what the leases will do, and why."""
    out = []
    for pair in leasing.turns(held):
        one, other = pair
        if None in (found[one].fits, found[other].fits):
            why = f"whether {one} and {other} could be loaded at the same time is not known"
        elif together(found, pair):
            why = f"{one} and {other} both hold {', '.join(name for name in held[one] if name in held[other])}"
        elif False in (found[one].fits, found[other].fits):
            continue
        else:
            why = f"{one} and {other} cannot be loaded at the same time"
        out.append(f"{why}: they take turns")
    for group in leasing.residents(held):
        if (close := sharing(found, group)) and together(found, close):
            out.append(f"{', '.join(close)} may stay loaded at the same time: none waits for another")
    return out


def _rows(asked: Asked, role: str, verdict: Verdict) -> list[tuple[str, ...]]:
    asks = f"{verdict.demand.context}" + (f" x {verdict.demand.parallel}" if verdict.demand.parallel > 1 else "")
    word = WORDS[verdict.fits] if verdict.on else "CPU"
    if not verdict.gpus:
        names = verdict.on or ("-",)
        cards = [asked.kinds.get(name) for name in names]
        return [
            (role if not n else "", name, card.name if card else "-", asked.addresses.get(name, "-"), "-", "-", "-", "-",
             asks if not n else "", word if not n else "", "-" if not n else "")
            for n, (name, card) in enumerate(zip(names, cards, strict=True))
        ]  # fmt: skip
    most = str(verdict.largest_context or "none")
    speed = f"{verdict.speed:.1f} to {verdict.speed_full:.1f}" if verdict.speed else "-"
    last = (f"{asks} of {most}", word, speed)
    return [
        (role if not n else "", *_part(asked, gpu), *(last if not n else ("", "", "")))
        for n, gpu in enumerate(verdict.gpus)
    ]


def _part(asked: Asked, gpu: Gpu) -> tuple[str, ...]:
    sizes = (gpu.weights, gpu.kv, gpu.buffers, gpu.spare)
    return (gpu.name, gpu.card.name, asked.addresses.get(gpu.name, "-"), *(f"{size:,.0f}" for size in sizes))


def _facts(asked: Asked, role: str, verdict: Verdict) -> dict[str, Any]:
    parts = ("layers", "weights", "kv", "buffers", "context", "margin", "reserve", "spare", "needed")
    return {
        "model": asked.instances[role].model, "fits": verdict.fits, "reason": verdict.reason,
        "fix": asked.advice(role),
        "context": verdict.demand.context, "parallel": verdict.demand.parallel, "kv_type": verdict.demand.kv_type,
        "batch": verdict.demand.batch,
        "largest_context": verdict.largest_context, "tokens_per_second": round(verdict.speed, 1),
        "tokens_per_second_full": round(verdict.speed_full, 1),
        "shape": verdict.shape.source if verdict.shape else None,
        "gpus": [
            {"name": gpu.name, "card": gpu.card.name, "address": asked.addresses.get(gpu.name), "vram": gpu.card.vram_mib}
            | {part: round(getattr(gpu, part), 1) for part in parts}
            for gpu in verdict.gpus
        ],
    }  # fmt: skip
