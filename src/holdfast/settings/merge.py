"""How a host's own settings lie over its profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``: mappings are merged key by key, everything else replaces, ``None`` removes the key."""
    out: dict[str, Any] = dict(below)
    for key, value in above.items():
        under = out.get(key)
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            out[key] = merge(under if isinstance(under, Mapping) else {}, value)
        else:
            out[key] = value
    return out


def keys(path: str) -> list[str]:
    """The keys in ``a.b."c.d:e"``: a key with a dot in it stands in double quotes."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^."]+)', path)]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"instances.coder.context": 8192}`` as the mapping that it stands for."""
    out: dict[str, Any] = {}
    for path, value in values.items():
        single: Any = value
        for key in reversed(keys(path)):
            single = {key: single}
        # Not merge(): a None here has to reach the site, where it removes the key.
        _lay(out, single)
    return out


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _lay(below[key], value)
        else:
            below[key] = value
