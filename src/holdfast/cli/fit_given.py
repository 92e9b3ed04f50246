"""`plan --profile` and `plan --gguf`: the verdict without a machine and without a network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.components.ollama.options import Instance
from holdfast.errors import HoldfastError
from holdfast.fit import CARDS
from holdfast.fit.reading import of_file
from holdfast.settings import fitting
from holdfast.settings.explain import settings_error
from holdfast.settings.fitting import Asked, FitError
from holdfast.settings.loader import profiles
from holdfast.settings.merge import merge, nested
from holdfast.settings.workstation import Workstation

_MOST_CARDS = 255  # numbers of a PCI bus, which the cards of no machine get here
DEFAULT_CARD = "rtx-3090"


def of_profile(name: str, cards: Sequence[str], values: Mapping[str, Any]) -> Asked:
    """A profile of group_data/ with ``values`` (as of --set) over it, on ``cards`` or the profile's own: judged as the settings
    of a machine are, so that what no machine may have is refused here, too."""
    known = profiles()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1) or list(known)[:1]
        raise HoldfastError(f"profile {name!r:.60}", allowed=", ".join(known), fix=f"--profile {near[0]}", code=2)
    block = merge(known[name], nested(values))
    names = _names(block)
    # What a profile leaves to the site; where the cards sit decides nothing.
    gpus = {gpu: {"address": f"{number:02x}:00.0"} for number, gpu in enumerate(names, 1)}
    block = merge({"login_user": "you", "tailscale": {"enabled": False}, "gpus": gpus}, block)
    site = {"name": name, "profile": name, "gpus": {gpu: {"card": kind} for gpu, kind in _kinds(names, cards).items()}}
    try:
        asked = fitting.asked(Workstation.laid_over(block, site, "--set"))
    except FitError as error:
        asked = error.asked
    return replace(asked, addresses={})


def _names(block: Mapping[str, Any]) -> list[str]:
    """The cards that the instances of ``block`` name, where it can be read at all; what is wrong in it the settings tell."""
    instances = block.get("instances")
    each = instances.values() if isinstance(instances, Mapping) else ()
    lists = [one["gpus"] for one in each if isinstance(one, Mapping) and isinstance(one.get("gpus"), list)]
    return list(dict.fromkeys(gpu for gpus in lists for gpu in gpus if isinstance(gpu, str)))[:_MOST_CARDS]


def of_gguf(file: Path, cards: Sequence[str], values: Mapping[str, Any]) -> Asked:
    """One instance with the model in ``file``, whose beginning is read; ``values`` are settings of the instance. Raises
    HoldfastError."""
    try:
        shape = of_file(file)
    except OSError as error:
        raise HoldfastError(f"{file} cannot be read: {error.strerror}", fix="name a GGUF file of this computer", code=2) from None
    names = [card.partition("=")[0] if "=" in card else f"card{n or ''}" for n, card in enumerate(cards)] or ["card"]
    model = "gguf:file"
    given = {"model": model, "gpus": names, "port": 11434}
    asked = _instance(str(file), merge(given, nested(values)))
    kinds = {**dict.fromkeys(names, DEFAULT_CARD), **_kinds(names, cards)}
    return Asked(file.name, {"gguf": asked}, {name: CARDS[key] for name, key in kinds.items()}, shapes={asked.model: shape})


def _kinds(names: Sequence[str], cards: Sequence[str]) -> dict[str, str]:
    """`--card rtx-5090` for all, one for each in order, or by name: `--card left=rtx-5090`; only those that were given."""
    chosen: dict[str, str] = {}
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
        if key not in CARDS:
            near = difflib.get_close_matches(key, CARDS, n=3, cutoff=0.4) or [DEFAULT_CARD]
            raise HoldfastError(f"--card {key!r:.40} is in no table", allowed=", ".join(CARDS), fix=f"--card {near[0]}", code=2)
    return chosen


def _instance(where: str, given: Any) -> Instance:
    try:
        return Instance.model_validate(given)
    except ValidationError as error:
        raise settings_error(error, Instance, where, "--set") from None
