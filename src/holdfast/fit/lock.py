"""A shape in locks/models.yml: short enough to read, exact to the byte.

Layers of one kind share a letter; `order` names each layer's kind from the first to the last, `a*8` for eight in a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import yaml

from holdfast import yaml_edit
from holdfast.errors import HoldfastError
from holdfast.fit.shape import Layer, Shape
from holdfast.paths import LOCKS

LOCK = LOCKS / "models.yml"
_LAYER = [field.name for field in fields(Layer)]
_NUMBERS = ["context", "width", "vocabulary", "heads", "head", "feed_forward", "output", "embedding"]
_MOST_LAYERS = 512


def shape_to_lock(shape: Shape) -> dict[str, Any]:
    """``shape`` as the lock has it."""
    out: dict[str, Any] = {"source": shape.source, "architecture": shape.architecture}
    if shape.unknown:
        return out | {"unknown": shape.unknown}
    out |= {name: getattr(shape, name) for name in _NUMBERS}
    if shape.experts:
        out |= {"experts": shape.experts, "experts_used": shape.experts_used}
    kinds = {layer: _letters(number) for number, layer in enumerate(dict.fromkeys(shape.layers))}
    runs = [(kinds[layer], len(list(group))) for layer, group in itertools.groupby(shape.layers)]
    out["kinds"] = {name: _kind(layer) for layer, name in kinds.items()}
    out["order"] = " ".join(name if count == 1 else f"{name}*{count}" for name, count in runs)
    return out


def shape_from_lock(entry: Mapping[str, Any], where: str = str(LOCK)) -> Shape:
    """The shape that ``entry`` (the `shape:` of a model) describes. Raises HoldfastError naming what is wrong in it."""
    try:
        source, architecture = str(entry["source"]), str(entry["architecture"])
        if "unknown" in entry:
            return Shape(architecture, (), 0, 0, 0, 0, 0, 0, 0, 0, source=source, unknown=str(entry["unknown"]))
        kinds = {name: _layer(kind) for name, kind in entry["kinds"].items()}
        runs = [word.partition("*") for word in str(entry["order"]).split()]
        order = [(kinds[name], int(count or 1)) for name, _, count in runs]
        if not 1 <= sum(count for _, count in order) <= _MOST_LAYERS:
            raise ValueError(f"a model has 1 to {_MOST_LAYERS} layers")
        numbers: dict[str, Any] = {name: _number(entry[name]) for name in _NUMBERS}
        numbers |= {name: _number(entry[name]) for name in ("experts", "experts_used") if name in entry}
        layers = tuple(layer for layer, count in order for _ in range(count))
        return Shape(architecture=architecture, layers=layers, source=source, **numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HoldfastError(
            f"the shape cannot be read: {error!r:.200}",
            where=where,
            fix=f"correct {where} (git diff shows what changed)",
        ) from error


def shapes(file: Path = LOCK) -> dict[str, Shape]:
    """The shapes of the models in the lock, by name; models without one are left out. Raises HoldfastError."""
    given = _each(file, "shape")
    return {name: shape_from_lock(entry, f"{name} in {file}") for name, entry in given.items()}


def models_for(role: str, file: Path = LOCK) -> list[str]:
    """The models of the lock that are meant for ``role``. Raises HoldfastError."""
    return [name for name, one in _each(file, "role").items() if one == role]


def _each(file: Path, key: str) -> dict[str, Any]:
    """Model -> its ``key``, for those that have one."""
    try:
        entries = yaml.safe_load(file.read_text("utf-8"))
        return {str(name): entry[key] for name, entry in entries.items() if key in entry}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise HoldfastError(
            f"the lock cannot be read: {error!r:.200}", where=str(file), fix=f"correct {file}"
        ) from error


def write(name: str, shape: Shape, file: Path = LOCK) -> None:
    """Put ``shape`` under ``name`` in the lock; everything else in it stays as it is, comments included."""
    problem = HoldfastError(f"{name} is not in the lock", where=str(file), fix=f"add {name} to {file} first")
    text = yaml.safe_dump({"shape": shape_to_lock(shape)}, sort_keys=False, width=110, default_flow_style=None)
    lines = yaml_edit.with_block(yaml_edit.read(file), name, "shape", text.splitlines())
    if lines is None:
        raise problem
    yaml_edit.replace(file, lines, lambda new: shapes(new).get(name) == shape, problem)


def _kind(layer: Layer) -> dict[str, int]:
    """A layer in few words: what can be told from the rest is left out."""
    out = dict(zip(_LAYER, astuple(layer), strict=True))
    if layer.active == layer.weights:
        del out["active"]
    if not layer.window:
        del out["window"]
    return out


def _layer(kind: Mapping[str, Any]) -> Layer:
    values = {name: _number(value) for name, value in kind.items()}
    return Layer(**{"active": values["weights"]} | values)


def _letters(number: int) -> str:
    """a … z, aa, ab …"""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 44:
        raise ValueError(f"{value!r:.60} is no number that can be right")
    return value
