"""`plan --profile` and `plan --gguf`: the verdict without a machine and without a network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.components.ollama.options import Instance
from holdfast.errors import HoldfastError
from holdfast.fit import CARDS, Card
from holdfast.fit.header import read
from holdfast.fit.reading import shape_of
from holdfast.settings.explain import settings_error
from holdfast.settings.fitting import Asked
from holdfast.settings.loader import profiles
from holdfast.settings.merge import merge, nested

DEFAULT_CARD = "rtx-3090"


def of_profile(name: str, cards: Sequence[str], values: Mapping[str, Any]) -> Asked:
    """A profile of group_data/ with ``values`` (as of --set) over it, on ``cards`` or the profile's own."""
    known = profiles()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1) or list(known)[:1]
        raise HoldfastError(f"profile {name!r:.60}", allowed=", ".join(known), fix=f"--profile {near[0]}", code=2)
    block = merge(known[name], nested(values))
    instances = {role: _instance(f"{name}.instances.{role}", one) for role, one in block.get("instances", {}).items()}
    names = list(dict.fromkeys(gpu for instance in instances.values() for gpu in instance.gpus))
    return Asked(name, instances, _kinds(names, cards, str(block.get("card", ""))))


def of_gguf(file: Path, cards: Sequence[str], values: Mapping[str, Any]) -> Asked:
    """One instance with the model in ``file``, whose beginning is read; ``values`` are settings of the instance."""
    try:
        with file.open("rb") as source:
            shape = shape_of(read(source, str(file)), str(file))
    except OSError as error:
        raise HoldfastError(f"{file} cannot be read: {error.strerror}", fix="name a GGUF file of this computer", code=2) from None
    names = [card.partition("=")[0] if "=" in card else f"card{n or ''}" for n, card in enumerate(cards)] or ["card"]
    model = "gguf:file"
    given = {"model": model, "gpus": names, "port": 11434}
    asked = _instance(str(file), merge(given, nested(values)))
    kinds = _kinds(names, cards, DEFAULT_CARD)
    return Asked(file.name, {"gguf": asked}, kinds, shapes={asked.model: shape})


def _kinds(names: Sequence[str], cards: Sequence[str], default: str) -> dict[str, Card | None]:
    """`--card rtx-5090` for all, one for each in order, or by name: `--card left=rtx-5090`."""
    chosen = dict.fromkeys(names, default)
    plain = [card for card in cards if "=" not in card]
    if len(plain) == 1:
        chosen = dict.fromkeys(names, plain[0])
    elif len(plain) > len(names):
        raise HoldfastError(
            f"--card was given {len(plain)} times, there are {len(names)} cards", allowed=", ".join(names) or "no card",
            fix="one --card for all, or one for each", code=2,
        )  # fmt: skip
    else:
        chosen |= dict(zip(names, plain, strict=False))
    for name, _, key in (card.partition("=") for card in cards if "=" in card):
        if name not in chosen:
            problem = f"--card {name}=…: no instance uses {name}"
            raise HoldfastError(problem, allowed=", ".join(names), fix="--card NAME=KIND", code=2)
        chosen[name] = key
    for key in chosen.values():
        if key and key not in CARDS:
            near = difflib.get_close_matches(key, CARDS, n=3, cutoff=0.4) or [DEFAULT_CARD]
            raise HoldfastError(f"--card {key!r:.40} is in no table", allowed=", ".join(CARDS), fix=f"--card {near[0]}", code=2)
    return {name: CARDS.get(key) for name, key in chosen.items()}


def _instance(where: str, given: Any) -> Instance:
    try:
        return Instance.model_validate(given)
    except ValidationError as error:
        raise settings_error(error, Instance, where, "--set") from None
