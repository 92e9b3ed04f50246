"""A role that is renamed or removed: what it ran as ends, and its port is free for the next."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fake import engine, systemd
from tests.fake.machine import Machine, Unit
from tests.fake.test_interrupted import shots

from holdfast.settings.loader import profiles

REMOVE = "Ollama | Remove instances that are no longer declared"


def renamed(site: dict[str, Any]) -> dict[str, Any]:
    """The coder is called author from now on; its port and its card stay."""
    instances = profiles()["dual_3090"]["instances"]
    return {**site, "instances": {"coder": None, "author": instances["coder"]}, "aider": {"editor": "author"}}


def roles(machine: Machine) -> set[str]:
    """Whatever has a file or a process."""
    known = {name.split("@")[1].split(".")[0] for name, unit in machine.units.items() if "@" in name and unit != Unit()}
    named = ("author", "coder", "reasoner")
    return known | {role for role in named if any(f"ollama/{role}.env" in p or f"@{role}." in p for p in machine.disk)}


def test_a_renamed_role_keeps_its_port(converged: Machine, site: dict[str, Any]) -> None:
    before = dict(converged.starts)
    done = engine.run(converged, renamed(site))
    assert not done.failed, done.errors
    assert REMOVE in done.changed
    assert roles(converged) == {"author", "reasoner"}
    assert converged.starts["ollama@reasoner.service"] == before["ollama@reasoner.service"]
    assert systemd.stale(converged) == []
    assert engine.run(converged, renamed(site)).changed == []


def test_cut_at_every_step(converged: Machine, site: dict[str, Any]) -> None:
    settings, uncut = renamed(site), converged.copy()
    taken = shots(uncut, settings)
    assert any("stop ollama@coder" in what for what, _ in taken)
    for what, shot in taken:
        done = engine.run(shot, settings)
        assert not done.failed, (what, done.errors)
        assert roles(shot) == {"author", "reasoner"}, what


@pytest.mark.parametrize("left", ["process", "drop-in", "environment", "enabled"])
def test_any_trace_of_another_instance_is_removed(left: str, converged: Machine, site: dict[str, Any]) -> None:
    assert REMOVE not in engine.run(converged, site).changed
    if left == "drop-in":
        converged.write("/etc/systemd/system/ollama@former.service.d/port.conf", "[Service]")
    elif left == "environment":
        converged.write("/etc/holdfast/ollama/former.env", "A=b")
    elif left == "enabled":
        converged.units["ollama@former.service"] = Unit(enabled=True)
    else:
        converged.write("/etc/holdfast/ollama/former.env", "OLLAMA_HOST=127.0.0.1:11999")
        systemd.start(converged, "ollama@former.service")
        converged.remove("/etc/holdfast/ollama/former.env")
    assert engine.run(converged, site).changed == [REMOVE]
    assert not any("former" in path for path in converged.disk if "ollama" in path and not path.startswith("/run"))
    assert converged.units.get("ollama@former.service", Unit()) == Unit()
    assert engine.run(converged, site).changed == []


def test_of_a_trial_that_was_cut_off_nothing_stays(converged: Machine, site: dict[str, Any]) -> None:
    name = "next.coder"
    converged.write(f"/etc/holdfast/ollama/{name}.env", "OLLAMA_HOST=127.0.0.1:40999")
    systemd.start(converged, f"ollama@{name}.service")
    for folder in ("/var/lib", "/var/cache"):
        converged.write(f"{folder}/holdfast/ollama/{name}/deep", "left")
    assert engine.run(converged, site).changed == [REMOVE]
    assert [path for path in converged.disk if name in path] == []
    assert "/var/lib/holdfast/ollama" in converged.disk, "nothing else has gone"
