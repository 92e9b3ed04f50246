"""The whole of a run, judged, and as the object of --json (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.bench.judge import Cost, HandOver, Result, costs, hand_overs, judge
from holdfast.bench.statistics import Spread
from holdfast.fit import Verdict
from holdfast.settings.workstation import Workstation


@dataclass(frozen=True)
class Report:
    """``processor`` in words; ``problems``: hand-overs and comparisons that could not be made."""

    host: str
    processor: str
    min_roofline: float
    results: tuple[Result, ...]
    hand_overs: tuple[HandOver, ...]
    costs: tuple[Cost, ...]
    problems: tuple[str, ...]

    @property
    def failed(self) -> bool:
        red = any(cost.state == "red" for cost in self.costs)
        return red or bool(self.problems) or any(result.failed for result in self.results)


def report(ws: Workstation, verdicts: Mapping[str, Verdict], found: Mapping[str, Any], tokens: int) -> Report:
    """``found``: what holdfast.bench.onhost brought back."""
    least = ws.ollama.min_roofline
    results = [
        judge(
            role, ws.instances[role].model, seen, {name: ws.addresses[name] for name in ws.instances[role].gpus},
            verdicts[role], least, tokens,
        )
        for role, seen in found["instances"].items()
    ]  # fmt: skip
    return Report(
        ws.name, found["processor"], least, tuple(results), tuple(hand_overs(found["hand_overs"])),
        tuple(cost for one in found["compare"] for cost in costs(one)),
        (
            *found.get("problems", ()),
            *(f"comparison of {one['role']}: {one['problem']}" for one in found["compare"] if one["problem"]),
        ),
    )  # fmt: skip


def data(made: Report) -> dict[str, Any]:
    """Seconds, tokens, tokens a second, watts, MHz, degrees; a median has its least, most and count."""
    return {
        "host": made.host, "processor": made.processor, "min_roofline": made.min_roofline, "failed": made.failed,
        "instances": {result.role: _instance(result) for result in made.results},
        "hand_overs": [
            {"from": one.before, "to": one.after, "seconds": _rounded(one.seconds)} for one in made.hand_overs
        ],
        "costs": [
            {
                "role": cost.role, "against": cost.against, "by": cost.by, "ratio": round(cost.ratio.median, 4),
                "interval": [round(cost.ratio.low, 4), round(cost.ratio.high, 4)], "rounds": cost.ratio.count,
                "target": cost.target or None, "others": round(cost.others, 3), "state": cost.state,
                "plain_ratio": round(cost.ollama.median, 4) if cost.ollama else None,
            }
            for cost in made.costs
        ],
        "problems": list(made.problems),
    }  # fmt: skip


def _instance(result: Result) -> dict[str, Any]:
    return {
        "model": result.model, "gpus": list(result.on), "state": result.state, "why": result.why,
        "fraction": _share(result.fraction), "load_s": round(result.load_s, 3), "waited_runs": result.waited,
        "short_answers": result.short,
        "points": [
            {
                "prompt": point.length, "context": point.context, "prompt_tokens_per_second": _rounded(point.prompt),
                "decode_tokens_per_second": _rounded(point.decode), "first_token_s": _rounded(point.first_s),
                "roofline": round(point.roofline, 2) or None, "fraction": _share(point.fraction),
            }
            for point in result.points
        ],
        "proofs": [asdict(proof) for proof in result.proofs], "cards": [asdict(card) for card in result.cards],
        "reasons": [asdict(reason) for reason in result.reasons], "notes": list(result.notes),
    }  # fmt: skip


def _rounded(one: Spread) -> dict[str, float]:
    return {
        "median": round(one.median, 4),
        "least": round(one.least, 4),
        "most": round(one.most, 4),
        "count": one.count,
    }


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def names(items: Sequence[str]) -> str:
    """For a sentence."""
    return ", ".join(items) or "the processor"
