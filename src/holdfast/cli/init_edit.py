"""Changing single values in a YAML file that a person wrote: every other byte stays, comments and layout included."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def flow(value: Any) -> str:
    """``value`` on one line, as a person would write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_~/][\w.@~/-]*", value) and yaml.safe_load(value) == value
        return value if plain else yaml.safe_dump(value, default_style='"', width=math.inf, allow_unicode=True).rstrip()
    return json.dumps(value)


class Unsafe(ValueError):
    """The file is written in a way in which this value cannot be changed."""


def put(text: str, path: Sequence[str], value: Any) -> str:
    """``text`` with ``value`` at ``path``; missing mappings on the way are made. Raises Unsafe."""
    node, above = _root(text), -1
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            # `instances:` without anything, or null.
            return _replace(text, node, _nested(path[depth:], value))
        found = _entry(node, key)
        if found is None:
            return _insert(text, node, key, _nested(path[depth + 1 :], value))
        above, node = found[0].start_mark.column, found[1]
    return _replace(text, node, value, above)


def drop(text: str, path: Sequence[str]) -> str:
    """``text`` without ``path``. A mapping that gets empty by it stays, as `{}`. Raises Unsafe."""
    node = _root(text)
    for key in path[:-1]:
        found = _entry(node, key) if isinstance(node, yaml.MappingNode) else None
        if found is None:
            return text
        node = found[1]
    entry = _entry(node, path[-1]) if isinstance(node, yaml.MappingNode) else None
    if entry is None:
        return text
    if len(node.value) == 1:
        return _replace(text, node, {})
    at = node.value.index(entry)
    if node.flow_style:
        if at:
            return text[: _end(text, node.value[at - 1][1])] + text[_end(text, entry[1]) :]
        return text[: entry[0].start_mark.index] + text[node.value[1][0].start_mark.index :]
    start = text.rfind("\n", 0, entry[0].start_mark.index) + 1
    return text[:start] + text[_line_end(text, _end(text, entry[1])) :].removeprefix("\r").removeprefix("\n")


def _root(text: str) -> Any:
    # Tags and aliases were refused by whoever read the file (settings.document).
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _entry(node: Any, key: str) -> tuple[Any, Any] | None:
    return next((pair for pair in node.value if pair[0].value == key), None)


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _end(text: str, node: Any) -> int:
    """Where ``node`` ends; a block's own mark lies behind the comments and empty lines that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        end = len(text[:end].rstrip())
    return end


def _line_end(text: str, at: int) -> int:
    """The end of the line, its comment included, that ``at`` is in."""
    found = text.find("\n", at)
    found = len(text) if found < 0 else found
    return found - 1 if text[:found].endswith("\r") else found


def _replace(text: str, node: Any, value: Any, above: int = -1) -> str:
    """``text`` with ``value`` in ``node``'s place, whose key stands in the column ``above``."""
    start, end = node.start_mark.index, _end(text, node)
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        lines = (
            [f"- {flow(one)}" for one in value]
            if isinstance(node, yaml.SequenceNode) and isinstance(value, list)
            else []
        )
        new = (_newline(text) + " " * node.start_mark.column).join(lines) if lines else flow(value)
        if not lines and node.start_mark.column <= above:
            # The dashes of a sequence may stand right under their key; any other value must be indented.
            new = f"  {new}"
        if "#" in text[start:end]:
            raise Unsafe("comments stand between the values")
        return text[:start] + new + text[end:]
    if start == end:
        # Nothing stands there (`gpus:`): behind the colon.
        return f"{text[:start]} {flow(value)}{text[end:]}"
    return text[:start] + flow(value) + text[end:]


def _insert(text: str, node: Any, key: str, value: Any) -> str:
    if not node.value:
        return _replace(text, node, {key: value})
    last = _end(text, node.value[-1][1])
    if node.flow_style:
        return f"{text[:last]}, {flow(key)}: {flow(value)}{text[last:]}"
    at, indent = _line_end(text, last), " " * node.start_mark.column
    lines = [f"{indent}{flow(key)}: {flow(value)}"]
    if isinstance(value, Mapping) and any(isinstance(one, Mapping) for one in value.values()):
        lines = [f"{indent}{flow(key)}:", *(f"{indent}  {flow(k)}: {flow(v)}" for k, v in value.items())]
    return text[:at] + "".join(_newline(text) + line for line in lines) + text[at:]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
