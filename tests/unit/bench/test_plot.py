"""The picture: well-formed, to scale, on a light and on a dark ground."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from tests.unit.bench.machines import LEFT, PLANNED, instance
from tests.unit.bench.test_judge import CODER, ONE, verdict

from holdfast.bench.judge import Result, judge
from holdfast.bench.plot import svg

SVG = "{http://www.w3.org/2000/svg}"


def measured(rate: float) -> Result:
    return judge("coder", CODER, instance(rate, LEFT), ONE, verdict(), 0.6, 128)


def test_points_lie_below_the_roofline_to_scale() -> None:
    root = ET.fromstring(svg([measured(34.0)], "box <1>: decoding", 0.6))
    assert root.findtext(f"{SVG}title") == "box <1>: decoding"
    lines = {line.attrib["class"]: line.attrib["points"] for line in root.iter(f"{SVG}polyline")}
    # The legend comes last and is short; the curves before it have many points.
    assert set(lines) == {"roof", "floor", "run"}
    curves = [
        [float(y) for _, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in root.iter(f"{SVG}polyline")
    ]
    roof, floor, run = curves[:3]
    assert len(roof) == 25 and len(run) == 2
    # Upwards is less: roofline above what was measured, that above 60 % of it (34 of 48 is 71 %).
    assert max(roof[:3]) < run[0] < min(floor[:3])
    zero = (
        float(
            next(t for t in root.iter(f"{SVG}text") if t.text == "0" and t.attrib.get("text-anchor") == "end").attrib[
                "y"
            ]
        )
        - 4
    )
    height = (zero - run[0]) / (zero - roof[0])
    assert abs(height - 34.2 / 48.2) < 0.02


def test_it_can_be_read_on_both_grounds() -> None:
    text = svg([measured(34.0)], "box", 0.6)
    assert "prefers-color-scheme: dark" in text and "currentColor" in text
    colours = set(re.findall(r'(?:stroke|fill)="(#\w+)"', text))
    assert colours and not colours & {"#000000", "#ffffff"}


def test_without_a_roofline_or_a_point_it_still_says_something() -> None:
    failed = judge("coder", CODER, {"problem": "500"}, PLANNED, verdict(), 0.6, 128)
    assert "no instance answered" in svg([failed], "box", 0.6)
    found = instance(900.0, looks=[])
    from holdfast.fit import judge as fits

    bare = judge("coder", CODER, found, {}, fits(None, [], 8192), 0.6, 128)
    text = svg([bare], "box", 0.6)
    ET.fromstring(text)
    assert 'class="roof"' not in text and ">coder<" in text
