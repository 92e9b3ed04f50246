"""Single values in a file that a person wrote: what is asked changes, every other byte stays."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.cli.init_edit import Unsafe, drop, flow, put

BLOCK = """\
# mine
box:
  gpus:   # names of mine
    left: "01:00.0"   # the good one

    # the other one
    right: {address: "02:00.0", card: rtx-4090}
  instances: # roles

    coder: {context: 12288}   # enough
    reasoner:
      gpus:
        - left
        - right
      # slow
      context: 8192
  # at the end of box
  text: |
    several
    lines

other: {a: 1}
"""


@pytest.mark.parametrize(
    ("path", "value", "gone", "come"),
    [
        ("box.gpus.left", "03:00.0", '"01:00.0"', '"03:00.0"'),
        ("box.gpus.left", {"address": "03:00.0", "card": "a"}, '"01:00.0"', '{address: "03:00.0", card: a}'),
        ("box.gpus.right.card", "rtx-3090", "rtx-4090", "rtx-3090"),
        ("box.gpus.right.display", True, "", ", display: true"),
        ("box.gpus.third", "0a:00.0", "", '\n    third: "0a:00.0"'),
        ("box.instances.coder.context", 4096, "12288", "4096"),
        ("box.instances.coder.model", "m:1b", "", ', model: "m:1b"'),
        ("box.instances.reasoner.model", "m:1b", "", '\n      model: "m:1b"'),
        ("box.instances.reasoner.gpus", ["left"], "\n        - right", ""),
        ("box.instances.third.model", "m", "", "\n    third: {model: m}"),
        ("box.models.pins", {"a": "b"}, "", "\n  models:\n    pins: {a: b}"),
        ("other.b", [1, 2], "", ", b: [1, 2]"),
        ("new.a", 1, "", "\nnew: {a: 1}"),
    ],
)
def test_put(path: str, value: Any, gone: str, come: str) -> None:
    keys = path.split(".")
    new = put(BLOCK, keys, value)
    wanted = at = yaml.safe_load(BLOCK)
    for key in keys[:-1]:
        at = at.setdefault(key, {})
    at[keys[-1]] = value
    assert yaml.safe_load(new) == wanted
    assert len(new) == len(BLOCK) - len(gone) + len(come) and come in new
    assert put(new, keys, value) == new, "a second time changes nothing"


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("box.gpus.left", '    left: "01:00.0"   # the good one\n'),
        ("box.gpus.right", '    right: {address: "02:00.0", card: rtx-4090}\n'),
        ("box.gpus.right.card", ", card: rtx-4090"),
        ("box.gpus.right.address", 'address: "02:00.0", '),
        ("box.instances.reasoner.gpus", "      gpus:\n        - left\n        - right\n"),
        ("box.text", "  text: |\n    several\n    lines\n"),
        ("box.nothing", ""),
        ("nothing.at.all", ""),
    ],
)
def test_drop(path: str, gone: str) -> None:
    new = drop(BLOCK, path.split("."))
    assert new == BLOCK.replace(gone, "", 1) if gone else new == BLOCK
    yaml.safe_load(new)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("box: {}\n", "box: {a: {b: 1}}\n"),
        ("box:\n", "box: {a: {b: 1}}\n"),
        ("box: ~  # nothing\n", "box: {a: {b: 1}}  # nothing\n"),
        ("box:\n  a:  # empty\nother: 1\n", "box:\n  a: {b: 1}  # empty\nother: 1\n"),
        ("box: {a: {c: 2,},}\n", "box: {a: {c: 2, b: 1,},}\n"),
        ("box:\r\n  a:\r\n    c: 2  # x\r\nother: 1", "box:\r\n  a:\r\n    c: 2  # x\r\n    b: 1\r\nother: 1"),
        ("{box: {a: {b: 0}}}", "{box: {a: {b: 1}}}"),
        ("box:\n  a:\n    b:\n      - 2\n", "box:\n  a:\n    b:\n      1\n"),
        ("box:\n  a:\n    b:\n    - 2\n    c: 2\n", "box:\n  a:\n    b:\n      1\n    c: 2\n"),
        ("box:\n  a:\n    c: 2", "box:\n  a:\n    c: 2\n    b: 1"),
        ("'box':\n  \"a\": {'b': 'old'}\n", "'box':\n  \"a\": {'b': 1}\n"),
        ("\ufeffbox: {a: {b: 0}}\n", "\ufeffbox: {a: {b: 1}}\n"),
    ],
)
def test_ways_to_write_it(text: str, new: str) -> None:
    assert put(text, ["box", "a", "b"], 1) == new


def test_the_last_entry_leaves_an_empty_mapping_because_nothing_would_mean_remove() -> None:
    assert drop("box:\n  a:\n    b: 1  # x\n", ["box", "a", "b"]) == "box:\n  a:\n    {}  # x\n"


def test_comments_within_what_would_be_replaced_are_not_lost() -> None:
    with pytest.raises(Unsafe):
        put("box:\n  - a  # why\n  - b\n", ["box"], ["a"])


KEYS = st.text("abcdefgh-1", min_size=1, max_size=4)
LEAVES = st.one_of(st.integers(), st.booleans(), st.text(max_size=8), st.lists(st.text("ab:#", max_size=3), max_size=3))
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)


@given(st.dictionaries(KEYS, TREES, max_size=4), st.lists(KEYS, min_size=1, max_size=3), TREES, st.booleans())
def test_whatever_is_put_is_there_and_the_rest_is_as_it_was(
    document: Any, path: list[str], value: Any, block: bool
) -> None:
    text = yaml.safe_dump(document, default_flow_style=not block, sort_keys=False)
    here = document
    for key in path[:-1]:
        here = here.setdefault(key, {})
        assume(isinstance(here, dict))
    try:
        new = put(text, path, value)
        here[path[-1]] = value
        assert yaml.safe_load(new) == document
        del here[path[-1]]
        assert yaml.safe_load(drop(new, path)) == document
    except Unsafe:
        # What looks like a comment among what would be replaced.
        assert "#" in text or "#" in str(value)


@given(TREES)
def test_a_value_on_one_line(value: Any) -> None:
    assert yaml.safe_load(flow(value)) == value and "\n" not in flow(value)
