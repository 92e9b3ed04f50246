"""One entry of a lock is changed in place, and nothing is left beside the file whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import yaml_edit
from holdfast.errors import HoldfastError

TEXT = """\
# head
a:1b:
  manifest: old  # why
  shape:
    manifest: deep

  licence: MIT

# about b
a:
  manifest: other
"""
LINES = TEXT.removesuffix("\n").split("\n")


def test_an_entry_ends_before_the_next_ones_comment() -> None:
    assert yaml_edit.entry(LINES, "a:1b") == range(2, 7)
    assert yaml_edit.entry(LINES, "a") == range(10, 11)
    assert yaml_edit.entry(LINES, "shape", 2, range(2, 7)) == range(4, 5)
    assert yaml_edit.entry(LINES, "b").start == yaml_edit.entry(LINES, "shape").start == 0


def test_a_value_is_replaced_right_under_its_key_only() -> None:
    out = yaml_edit.with_values(LINES, "a:1b", {"manifest": "new"})
    assert out is not None and [line for line in out if line not in LINES] == ["  manifest: new  # why"]
    assert yaml_edit.with_values(LINES, "a:1b", {"size": "1"}) is None
    assert yaml_edit.with_values(LINES, "b", {"manifest": "new"}) is None


def test_a_block_takes_the_place_of_the_old_one() -> None:
    out = yaml_edit.with_block(LINES, "a:1b", "shape", ["shape:", "  width: 1"])
    assert out == [*LINES[:3], "", "  licence: MIT", "  shape:", "    width: 1", *LINES[7:]]
    assert yaml_edit.with_block(LINES, "b", "shape", []) is None


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    file, error = tmp_path / "lock.yml", HoldfastError("no")
    file.write_text(TEXT)

    def broken(new: Path) -> bool:
        assert new.read_text() == "x: 1\n"
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"):
        yaml_edit.replace(file, ["x: 1"], broken, error)
    with pytest.raises(HoldfastError, match="no"):
        yaml_edit.replace(file, ["x: 1"], lambda new: False, error)
    assert file.read_text() == TEXT
    yaml_edit.replace(file, ["x: 1"], lambda new: True, error)
    assert file.read_text() == "x: 1\n" and [p.name for p in tmp_path.iterdir()] == ["lock.yml"]
