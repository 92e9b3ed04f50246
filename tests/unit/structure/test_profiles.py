"""A profile says only what differs from the options' defaults: a default stands in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from holdfast.settings.loader import profiles
from holdfast.settings.section import Section
from holdfast.settings.workstation import Workstation

# Said in any case, none among them: which models run on which cards is what a profile is for.
ALWAYS = {"gpus"}


def repeated(literals: Mapping[str, Any], options: type[Section] = Workstation) -> list[str]:
    """Paths of the keys in ``literals`` whose value is what ``options`` have without them; instances' among them."""
    found = []
    for key, value in literals.items():
        field = options.model_fields[key]
        kind = (get_args(field.annotation) or (field.annotation,))[-1]
        if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, Section):
            named = value.items() if get_args(field.annotation) else [("", value)]
            found += [".".join(filter(None, (key, name, p))) for name, one in named for p in repeated(one, kind)]
        elif key not in ALWAYS and field.get_default(call_default_factory=True) == value:
            found.append(key)
    return found


@pytest.mark.parametrize("name", profiles())
def test_no_default_stands_in_two_places(name: str) -> None:
    assert repeated(profiles()[name]) == []


def test_a_repeated_default_is_seen() -> None:
    instance = {"model": "a:1", "port": 11434, "gpus": []}
    assert repeated({"card": "rtx-3090", "require_gpu": False, "instances": {"coder": {**instance, "context": 8192}}}) == []
    assert repeated({"card": "", "require_gpu": True}) == ["card", "require_gpu"]
    twice = {**instance, "context": 16384, "kv_type": "q8_0", "lease": None}
    paths = ["instances.coder.context", "instances.coder.kv_type", "instances.coder.lease"]
    assert repeated({"instances": {"coder": twice}}) == paths
    assert repeated({"ollama": {"cache_ram_mib": 2048, "load_limit_s": 60}}) == ["ollama.cache_ram_mib"]
