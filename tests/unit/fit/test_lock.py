"""Shapes in the lock: written as they are read, next to what else stands there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from tests.unit.fit.test_fits import shapes as any_shape

from holdfast.errors import HoldfastError
from holdfast.fit.lock import LOCK, shape_from_lock, shape_to_lock, shapes, write
from holdfast.fit.q4_k_m import PUBLISHED, shape, write_computed
from holdfast.fit.shape import COMPUTED, READ, Shape

OTHER = shape(PUBLISHED["qwen2.5-coder:1.5b"])


@settings(max_examples=40, deadline=None)
@given(any_shape())
def test_there_and_back(given: Shape) -> None:
    assert shape_from_lock(yaml.safe_load(yaml.safe_dump(shape_to_lock(given)))) == given


def test_an_unknown_model_says_so_in_the_lock() -> None:
    unknown = Shape("deepseek2", (), 0, 0, 0, 0, 0, 0, 0, 0, unknown="latent attention")
    assert shape_from_lock(shape_to_lock(unknown)) == unknown


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_shape_is_written_in_place(tmp_path: Path, name: str) -> None:
    file = tmp_path / "models.yml"
    file.write_text(LOCK.read_text())
    before = yaml.safe_load(LOCK.read_text())
    write(name, OTHER, file)
    after = yaml.safe_load(file.read_text())
    assert shapes(file)[name] == OTHER
    assert {k: {**v, "shape": 0} for k, v in after.items()} == {k: {**v, "shape": 0} for k, v in before.items()}
    assert {k: v["shape"] for k, v in after.items() if k != name} == {
        k: v["shape"] for k, v in before.items() if k != name
    }
    comments = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
    assert [line for line in file.read_text().splitlines() if line.startswith("#")] == comments
    once = file.read_text()
    write(name, OTHER, file)
    assert file.read_text() == once


def test_a_model_without_a_shape_gets_one(tmp_path: Path) -> None:
    file = tmp_path / "models.yml"
    file.write_text("a:1b:\n  manifest: unverified\n\n# about b\nb:1b:\n  manifest: unverified\n")
    write("a:1b", OTHER, file)
    assert list(shapes(file)) == ["a:1b"]
    assert "\n\n# about b\nb:1b:\n" in file.read_text()
    with pytest.raises(HoldfastError, match="not in the lock"):
        write("c:1b", OTHER, file)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models.yml"]


@pytest.mark.parametrize(
    "change",
    [
        {"order": "a*999999999"}, {"order": "z"}, {"order": ""}, {"order": "a*x"}, {"width": "wide"}, {"width": -1},
        {"output": True}, {"kinds": {"a": {"weights": 1}}}, {"kinds": []},
    ],
)  # fmt: skip
def test_a_damaged_shape_is_one_clear_error(change: dict[str, object]) -> None:
    with pytest.raises(HoldfastError, match="shape cannot be read") as caught:
        shape_from_lock({**shape_to_lock(OTHER), **change})
    assert "models.yml" in caught.value.render()


def test_computed_shapes_are_as_the_rule_gives_them_and_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "models.yml"
    file.write_text(LOCK.read_text())
    first, *rest = [name for name, known in shapes().items() if known.source == COMPUTED]
    write(first, dataclasses.replace(OTHER, source=READ), file)
    write(rest[0], OTHER, file)
    assert write_computed(file) == rest
    assert shapes(file) == {**shapes(), first: dataclasses.replace(OTHER, source=READ)}
