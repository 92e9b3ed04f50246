"""On cards: all of a model is on exactly the planned ones, seen in three ways while it generates, and as fast as they allow.

The short form of `./holdfast bench`, which measures several prompt lengths and says why a model is slow.
"""

from __future__ import annotations

import re
import statistics
from typing import Any

import pytest
from tests.verify.cards import fail, require, uuids
from tests.verify.machine import Machine, Shape, assert_on_cards

TOKENS, RUNS = 64, 5


@pytest.fixture(scope="module")
def speed(machine: Machine, shape: Shape, cards: dict[str, Any]) -> dict[str, Any]:
    """One load and a few generations of each instance that has cards, in turn; each of those must be there."""
    require(cards, shape)
    instances = {
        role: [f"ollama@{role}.service", i.port, i.model, TOKENS, RUNS] for role, i in shape.instances.items() if i.gpus
    }
    found: dict[str, Any] = machine.look("speed", instances=instances)
    silent = [f"{role}: {seen['problem']}" for role, seen in found.items() if seen["problem"]]
    if silent:
        fix = f"./holdfast status {shape.name}; sudo journalctl -u ollama@ROLE -n 50 on the machine"
        fail(f"no answer that could be measured: {'; '.join(silent)}", fix)
    return found


@pytest.fixture(scope="module")
def least(request: pytest.FixtureRequest) -> dict[str, float]:
    """Tokens a second by role: the share that the settings ask for of what fit computes; 0 where nobody can know."""
    from holdfast.settings import fitting, load

    ws = load(request.config.getoption("--holdfast-host"))
    return {role: ws.ollama.min_roofline * verdict.speed for role, verdict in fitting.verdicts(ws).items()}


@pytest.mark.promise(
    "A model runs on its own cards alone and wholly; it never falls back to the processor without a word"
)
def test_models_are_wholly_on_their_planned_cards(speed: dict[str, Any], shape: Shape, cards: dict[str, Any]) -> None:
    """By Ollama, by the journal, by nvidia-smi: two of the three are not enough."""
    for role, seen in speed.items():
        assert_on_cards(role, shape.instances[role].model, seen["models"])
        layers = [re.search(r"offloaded (\d+)/(\d+) layers", line) for line in seen["offloaded"]]
        assert layers, f"{role}: its journal does not say where the layers went"
        assert all(found and found[1] == found[2] for found in layers), f"{role}: {seen['offloaded']}"
        planned = set(uuids(cards, shape, role))
        found = {uuid for uuid, pid in seen["apps"] if pid in seen["processes"]}
        assert found == planned, f"{role} is on {found}, planned: {planned}; processes on cards: {seen['apps']}"


def test_models_are_as_fast_as_their_cards_allow(speed: dict[str, Any], shape: Shape, least: dict[str, float]) -> None:
    slow = {}
    for role, seen in speed.items():
        rate = statistics.median(seen["rates"])
        if rate < least[role]:
            slow[role] = f"{rate:.1f} tokens/s; {least[role]:.1f} are asked for; ./holdfast bench {shape.name} says why"
    assert not slow, slow
    unknown = [role for role in speed if not least[role]]
    if unknown:
        pytest.skip(f"how fast they could be is not known: {', '.join(unknown)} (./holdfast plan says why)")
