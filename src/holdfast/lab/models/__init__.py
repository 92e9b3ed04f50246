"""Tiny models that stand for the real ones, under their names, and the registry that serves them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab.models import layout, roles

# A tiny model is no faster on many processors, and its threads would wait for each other by spinning.
_THREADS = 1
_WRITERS = {"coder": roles.write_coder, "reasoner": roles.write_reasoner}


def make(folder: Path, overrides: Mapping[str, Path] | None = None) -> dict[str, str]:
    """Writes both models into `folder`, ready for the registry; returns model name -> manifest digest ("sha256:…").

    `overrides` maps a role ("coder", "reasoner") to a GGUF that is served in place of the tiny one.  The result depends
    on nothing but its arguments: the same call gives the same digests.
    """
    chosen = dict(overrides or {})
    for name in chosen:
        if name not in _WRITERS:
            known = ", ".join(_WRITERS)
            raise HoldfastError(f"there is no role {name!r}", allowed=known, fix="--model coder=FILE.gguf")
    pins = {}
    for role in roles.ROLES:
        if role.name in chosen:
            pins[role.model] = layout.add(folder, role.model, chosen[role.name])
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.gguf"
            _WRITERS[role.name](path)
            pins[role.model] = layout.add(folder, role.model, path, num_thread=_THREADS)
    return pins
