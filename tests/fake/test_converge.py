"""From a bare machine to a converged one, per distribution and state: the plan is honest, the second apply has nothing to do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fake import cards, engine, systemd, world
from tests.fake.machine import Machine

from holdfast.depot.record import RELEASE

# What a plan of a bare machine lists and an apply then need not do, each for a reason of its own.
OVERTAKEN = {
    "Tailscale | Run tailscaled": "its package starts it",
    "Ollama | Wait for the coder": "its unit counts as started when it answers",
    "Ollama | Wait for the reasoner": "its unit counts as started when it answers",
    "Aider | Install git": "base has installed it",
}


@pytest.mark.parametrize(
    ("distribution", "codename", "python"), [*((*d, False) for d in world.DISTRIBUTIONS), ("debian", "bookworm", True)]
)
def test_bare_machine(distribution: str, codename: str, python: bool, site: dict[str, Any]) -> None:
    machine = world.machine(distribution, codename, python=python)

    plan = engine.run(machine, site, dry=True)
    assert machine.changes == 0
    assert not plan.errors
    assert {"Base | Install base packages", "Ollama | Run the coder", "Aider | Install Aider"} <= set(plan.planned)

    first = engine.run(machine, site)
    assert not first.failed, first.errors
    assert set(first.changed) <= set(plan.planned), "an apply does nothing that its plan does not list"
    assert set(plan.planned) - set(first.changed) <= set(OVERTAKEN)
    assert systemd.stale(machine) == []
    assert all(unit.enabled for unit in machine.units.values())

    done = machine.changes
    second, plan = engine.run(machine, site), engine.run(machine, site, dry=True)
    assert (second.changed, second.failed, plan.planned, machine.changes) == ([], False, [], done)


def test_what_stands_at_the_end(converged: Machine) -> None:
    """The simulation is not empty: the units run, in their order, with what the settings say."""
    running = {name: dict(unit.process.env) for name, unit in converged.units.items() if unit.process}
    assert running["ollama@coder.service"]["OLLAMA_HOST"] == "127.0.0.1:11434"
    assert running["ollama@reasoner.service"]["OLLAMA_HOST"] == "127.0.0.1:11435"
    assert running["tailscaled.service"]["TS_NO_LOGS_NO_SUPPORT"] == "true"
    assert running["open-webui.service"]["WEBUI_URL"] == "http://gpu-box.tail.test"
    assert set(converged.starts.values()) == {1}, "nothing is started twice"
    assert "/etc/holdfast/open-webui/bootstrap.env" not in converged.disk
    assert list(converged.tailnet.serve["Web"]) == ["gpu-box.tail.test:80"]


@pytest.mark.parametrize(
    ("driver", "required", "devices"), [("570.133.07", True, "GPU-0000:01:00.0"), ("", False, "-1")], ids=["driver", "none"]
)
def test_cards(driver: str, required: bool, devices: str, site: dict[str, Any]) -> None:
    world.record(RELEASE)
    machine = cards.insert(world.machine(python=False), world.LEFT, world.RIGHT, driver=driver)
    # Without a driver, and with none to be installed: the processor does.
    settings = {**site, "require_gpu": required, "nvidia": {"source": "none"}}
    first = engine.run(machine, settings)
    assert not first.failed, first.errors
    process = machine.units["ollama@coder.service"].process
    assert process and dict(process.env)["CUDA_VISIBLE_DEVICES"] == devices
    assert engine.run(machine, settings).changed == []


def test_a_command_that_nobody_declared_is_loud(converged: Machine, site: dict[str, Any], monkeypatch: Any) -> None:
    from tests.fake.machine import FUNCTIONS, Undeclared

    from holdfast.components.base import operations

    monkeypatch.delitem(FUNCTIONS, operations.read_uv.__name__)
    with pytest.raises(Undeclared, match=r"read_uv\(link\)"):
        engine.run(converged, site)
