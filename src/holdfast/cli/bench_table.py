"""What `bench` found, for a person."""

from __future__ import annotations

from typing import Any

from holdfast.bench.judge import Result
from holdfast.bench.report import Report, names
from holdfast.bench.statistics import Spread

_COLUMNS = ("instance", "prompt", "prompt t/s", "decode t/s", "roofline", "of it", "first token s")
_SIGNS = {True: "yes", False: "NO", None: "NOT SEEN"}
_OTHERS = {"bare": "its llama-server started by hand", "plain": "the same Ollama without our part"}
_BY = {"decode": "decode rate as reported", "wall": "wall clock"}


def lines(made: Report) -> list[Any]:
    """The table, then what it says of each instance, hand-overs, and what our part costs."""
    out: list[Any] = [f"{made.host}: tokens a second, median (least to most)", *_table(made)]
    for result in made.results:
        out += _instance(result)
    if any(not result.on for result in made.results):
        out.append(f"processor: {made.processor}")
    for one in made.hand_overs:
        out.append(f"hand-over {one.before} -> {one.after}: {_spread(one.seconds, 2)} s to the first token")
    for cost in made.costs:
        target = f", target {cost.target:g}" if cost.target else ""
        out.append(
            f"{cost.role} against {_OTHERS[cost.against]}, {_BY[cost.by]}: {cost.ratio.median:.3f} "
            f"({cost.ratio.low:.3f} to {cost.ratio.high:.3f}, {cost.ratio.count} rounds{target}): {cost.state}"
        )
    out += [f"FAILED: {problem}" for problem in made.problems]
    return out


def _table(made: Report) -> list[str]:
    """Plain text, so that nothing is cut where a terminal is narrow or there is none."""
    rows = [_COLUMNS]
    for result in made.results:
        for n, point in enumerate(result.points):
            share = "-" if point.fraction is None else f"{100 * point.fraction:.0f} %"
            roof = f"{point.roofline:.1f}" if point.roofline else "-"
            who = result.role if not n else ""
            rates = (f"{point.prompt.median:.0f}", _spread(point.decode))
            rows.append((who, str(point.length), *rates, roof, share, f"{point.first_s.median:.2f}"))
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    return [
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _instance(result: Result) -> list[str]:
    what = f"{result.role} ({result.model} on {names(result.on)}): {result.state}" + (
        f": {result.why}" if result.why else ""
    )
    out = [what if not result.failed else f"FAILED: {what}"]
    out += [
        f"  all of it on its cards, by {proof.name}: {_SIGNS[proof.holds]}, {proof.words}" for proof in result.proofs
    ]
    if result.points:
        out.append(f"  load to the first token: {result.load_s:.2f} s")
    for card in result.cards:
        memory = ("MHz of memory", card.memory_mhz, card.memory_most_mhz)
        figures = (("W", card.draw_w, card.limit_w), memory, ("degrees", card.celsius, None))
        told = [
            f"{now:.0f}{f' of {most:.0f}' if most else ''} {unit}" for unit, now, most in figures if now is not None
        ]
        link = f", PCIe generation {card.pcie[0]} x{card.pcie[1]}" if card.pcie else ""
        out.append(f"  {card.name}: {card.model}, driver {card.driver}, at most {', '.join(told)}{link}")
    if result.waited:
        out.append(f"  {result.waited} runs waited for somebody else's request; the medians may be too low")
    if result.short:
        out.append(f"  {result.short} answers ended by themselves before the last token")
    out += [f"  {note}" for note in result.notes]
    for n, reason in enumerate(result.reasons):
        out += [f"  {'likeliest' if not n else 'or'}: {reason.what}", f"    Fix: {reason.look}"]
    return out


def _spread(one: Spread, digits: int = 1) -> str:
    if one.count == 1 or one.least == one.most:
        return f"{one.median:.{digits}f}"
    return f"{one.median:.{digits}f} ({one.least:.{digits}f}–{one.most:.{digits}f})"
