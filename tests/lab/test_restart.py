"""One server at a time: a setting of the coder restarts the coder alone, and a server that ends comes back by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.waiting import until

CODER, REASONER = "ollama@coder", "ollama@reasoner"
CONTEXT = {"instances.coder.context": 8192}


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    yield workstation
    workstation.settle()


def test_a_setting_of_the_coder_restarts_the_coder_alone(machine: Any) -> None:
    standard = machine.settings.instances["coder"].context
    # There and back: the way back leaves the machine as it was.
    for values, context in ((CONTEXT, 8192), (None, standard)):
        before = machine.pids()
        changed = machine.apply(values).changed
        after = machine.pids()
        assert {unit for unit in before if before[unit] != after[unit]} == {CODER}, changed
        assert "Ollama | Run the coder" in changed and "Ollama | Run the reasoner" not in changed
        # In the process itself, not in the file that the deploy wrote.
        assert machine.environment(after[CODER])["OLLAMA_CONTEXT_LENGTH"] == str(context)
        assert machine.environment(after[REASONER])["OLLAMA_CONTEXT_LENGTH"] == str(standard)


def test_what_the_reasoner_holds_is_the_reasoners_matter(machine: Any) -> None:
    for values, names in (({"instances.reasoner.lease": ["left", "right", "memory"]}, "left right memory"), (None, "left right")):
        before = machine.pids()
        changed = machine.apply(values).changed
        after = machine.pids()
        assert {unit for unit in before if before[unit] != after[unit]} == {REASONER}, changed
        assert machine.environment(after[REASONER])["HOLDFAST_LEASE"] == names
        assert machine.environment(after[CODER])["HOLDFAST_LEASE"] == "left"
        for role in ("coder", "reasoner"):
            assert machine.state().models[role] in machine.says(role)


def test_a_restart_by_hand_ends_one_server_alone(machine: Any) -> None:
    assert machine.state().models["coder"] in machine.says("coder")
    before = machine.pids()
    machine.root("systemctl restart ollama@reasoner")
    after = machine.pids()
    assert {unit for unit in before if before[unit] != after[unit]} == {REASONER}
    # The coder's model is where it was: its lease was not taken from it with the other's unit.
    assert '"coder"' in machine.ssh(["cat", "/run/holdfast/lease/left.holder"]).stdout
    found = machine.ssh(["holdfast-gpu", "status", "--json"]).stdout
    assert next((gpu["name"], gpu["holder"]) for gpu in json.loads(found)["gpus"]) == ("left", "coder"), found


def test_a_server_that_ends_well_comes_back_by_itself(machine: Any) -> None:
    """With status 0, as after the signal with which the lease ends an Ollama that lost its slot (ollama#17131)."""
    before, restarts = machine.pids(), restarts_of(machine)
    machine.root(f"kill -TERM {before[CODER]}")
    until(lambda: restarts_of(machine) != restarts and answers(machine), f"{CODER} comes back", 120)
    after = machine.pids()
    assert {unit for unit in before if before[unit] != after[unit]} == {CODER}
    assert machine.state().models["coder"] in machine.says("coder")


def restarts_of(machine: Any) -> int:
    return int(machine.ssh(["systemctl", "show", "-p", "NRestarts", "--value", CODER]).stdout)


def answers(machine: Any) -> bool:
    url = "http://127.0.0.1:11434/api/version"
    return bool(machine.ssh(["curl", "-sf", "-m", "5", "-o", "/dev/null", url]).returncode == 0)
