"""Tokens a second over the context, with the roofline: one small SVG, readable on a light and on a dark ground (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from holdfast.bench.judge import Result

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 170, 48, 56
# Two hues that differ for every kind of eye, and then others; each is legible on white and on near-black.
_COLOURS = ("#2f7ed8", "#d9701a", "#1f9e77", "#b64fb6")
_STYLE = """
svg { color: #24292f; font: 12px system-ui, sans-serif; } .ground { fill: #ffffff; }
@media (prefers-color-scheme: dark) { svg { color: #d0d7de; } .ground { fill: #0d1117; } }
text { fill: currentColor; } .grid { stroke: currentColor; opacity: .18; } .title { font-size: 15px; font-weight: 600; }
.roof { fill: none; stroke-dasharray: 7 4; stroke-width: 1.5; } .floor { fill: none; stroke-dasharray: 1 4; stroke-width: 1.5; }
.run { fill: none; stroke-width: 2; }
"""


def svg(results: Sequence[Result], title: str, min_roofline: float) -> str:
    """The picture. Medians are joined, each with a bar from the least to the most; dashed: the roofline, dotted: the least that
    passes. Without any measured point it says so."""
    drawn = [result for result in results if result.points]
    contexts = [point.context for result in drawn for point in result.points]
    most_x = _round_up(max(contexts, default=1))
    tops = [max(point.decode.most, point.roofline) for result in drawn for point in result.points]
    tops += [result.ceiling.at(0) for result in drawn if result.ceiling]
    most_y = _round_up(max(tops, default=1.0))
    plot = _Plot(most_x, most_y)
    parts = [*plot.frame(title)]
    for number, result in enumerate(drawn):
        parts += plot.curve(result, _COLOURS[number % len(_COLOURS)], min_roofline)
    if not drawn:
        parts.append(f'<text x="{_LEFT + 20}" y="{_HEIGHT // 2}">no instance answered</text>')
    body = "\n".join(parts)
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    ground = f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>'
    return f"{head}\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{ground}\n{body}\n</svg>\n"


class _Plot:
    def __init__(self, most_x: float, most_y: float) -> None:
        self.most_x, self.most_y = most_x, most_y
        self.legend = float(_TOP + 8)  # where its next line goes

    def x(self, context: float) -> float:
        return _LEFT + context / self.most_x * (_WIDTH - _LEFT - _RIGHT)

    def y(self, rate: float) -> float:
        return _HEIGHT - _BOTTOM - rate / self.most_y * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, title: str) -> list[str]:
        out = [f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>']
        for n in range(6):
            rate, context = self.most_y * n / 5, self.most_x * n / 5
            x, y = self.x(context), self.y(rate)
            out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_label(rate)}</text>')
            out.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_label(context)}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        out.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 14}" text-anchor="middle">context (tokens)</text>')
        height = (_HEIGHT + _TOP - _BOTTOM) / 2
        turned = f'transform="translate(16 {height:.0f}) rotate(-90)"'
        out.append(f'<text {turned} text-anchor="middle">tokens a second</text>')
        return out

    def curve(self, result: Result, colour: str, min_roofline: float) -> list[str]:
        out = []
        if result.ceiling:
            steps = [self.most_x * n / 24 for n in range(25)]
            roof = [(self.x(c), self.y(result.ceiling.at(int(c)))) for c in steps]
            floor = [(self.x(c), self.y(min_roofline * result.ceiling.at(int(c)))) for c in steps]
            out += [_line("roof", roof, colour), _line("floor", floor, colour)]
        out.append(_line("run", [(self.x(p.context), self.y(p.decode.median)) for p in result.points], colour))
        for point in result.points:
            x = self.x(point.context)
            ends = f'y1="{self.y(point.decode.least):.1f}" y2="{self.y(point.decode.most):.1f}"'
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{colour}" stroke-width="2"/>')
            out.append(f'<circle cx="{x:.1f}" cy="{self.y(point.decode.median):.1f}" r="3.5" fill="{colour}"/>')
        roof_words = [("roof", "roofline"), ("floor", f"{100 * min_roofline:.0f} % of it")] if result.ceiling else []
        for kind, words in [("run", _short(result.role)), *roof_words]:
            at, self.legend = self.legend, self.legend + 17
            out.append(_line(kind, [(_WIDTH - _RIGHT + 14, at), (_WIDTH - _RIGHT + 40, at)], colour))
            out.append(f'<text x="{_WIDTH - _RIGHT + 46}" y="{at + 4}">{escape(words)}</text>')
        self.legend += 11
        return out


def _line(kind: str, points: Sequence[tuple[float, float]], colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" stroke="{colour}" points="{joined}"/>'


def _short(name: str) -> str:
    """What there is room for beside the plot."""
    return name if len(name) <= 18 else name[:17] + "…"


def _round_up(value: float) -> float:
    """To a number whose fifths are short: 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(power * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= value)


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
