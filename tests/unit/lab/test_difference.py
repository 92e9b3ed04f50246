"""The lab's workstation is a host like any other: its settings differ from a real one's in a short list of reasons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.lab import site
from holdfast.lab.layout import Layout
from holdfast.paths import ROOT
from holdfast.settings import Workstation
from holdfast.settings.loader import resolve

COMMITTED = Path(__file__).with_name("difference.yml")
MISSING = "(not set)"


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; lists are values."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{path}.{key}" if path else str(key)).items()}
    return {path: value}


def differences(real: Workstation, made: Workstation) -> dict[str, list[Any]]:
    """Path -> [what the real host has, what the lab has]."""
    one, other = (flat(ws.model_dump(mode="json")) for ws in (real, made))
    paths = sorted(one.keys() | other.keys())
    return {
        path: [one.get(path, MISSING), other.get(path, MISSING)]
        for path in paths
        if one.get(path, MISSING) != other.get(path, MISSING)
    }


@pytest.fixture
def real() -> Workstation:
    blocks = yaml.safe_load((ROOT / "hosts.example.yml").read_text())
    name, block = next((name, block) for name, block in blocks.items() if block["profile"] == "dual_3090")
    return resolve({**block, "name": name})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Workstation:
    """The settings that a lab called "lab" gives its workstation, without one running."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    pins = {"qwen2.5-coder:32b": "sha256:" + "1" * 64, "deepseek-r1:70b": "sha256:" + "2" * 64}
    return resolve({**site.block(Layout("lab"), pins), "name": "lab"})


def test_the_difference_is_the_committed_one(real: Workstation, made: Workstation) -> None:
    found = differences(real, made)
    print(yaml.safe_dump(found, sort_keys=True, default_flow_style=None))
    assert found == yaml.safe_load(COMMITTED.read_text())


def test_every_entry_says_why() -> None:
    """A comment stands above each group of entries; the groups are set apart by empty lines."""
    for group in COMMITTED.read_text().strip().split("\n\n"):
        assert group.startswith("# "), f"no reason is given for:\n{group}"


def test_a_difference_more_is_seen(real: Workstation, made: Workstation) -> None:
    """The control: whichever leaf is changed, the comparison shows it."""
    before = differences(real, made)
    block = made.model_dump(mode="json")
    block["ollama"] = {**block["ollama"], "ready_timeout_s": block["ollama"]["ready_timeout_s"] + 1}
    assert differences(real, Workstation.model_validate(block)).keys() - before.keys() == {"ollama.ready_timeout_s"}
    block["instances"]["third"] = {**block["instances"]["coder"], "port": 12345}
    assert "instances.third.model" in differences(real, Workstation.model_validate(block))
