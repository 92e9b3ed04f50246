"""An apply that is cut off at any step, and run again, ends where an uncut one ends: running processes included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import SOAK
from tests.fake import engine, systemd, world
from tests.fake.machine import Machine, differences

from holdfast.operations import unit


def shots(machine: Machine, site: dict[str, Any]) -> list[tuple[str, Machine]]:
    """Applies ``site`` to ``machine``; the machine as it was before each changing step, with the step's name."""
    taken: list[Machine] = []
    before = machine.changes
    machine.watch = lambda m: taken.append(m.copy())
    done = engine.run(machine, site)
    machine.watch = None
    assert not done.failed, done.errors
    return [(f"{n} {what}", shot) for n, ((_, what), shot) in enumerate(zip(machine.log[before:], taken, strict=True))]


def wrong_after(shot: Machine, site: dict[str, Any], uncut: Machine, *, again: bool) -> list[str]:
    """What is wrong after ``site`` was applied to a machine on which an apply had been cut off."""
    done = engine.run(shot, site)
    wrong = [str(error) for error in done.errors] or (["failed"] if done.failed else [])
    wrong += differences(shot.picture(), uncut.picture())
    wrong += [f"{name} runs with what is no longer so" for name in systemd.stale(shot)]
    # The picture holds all that is looked at: the same picture has nothing to change. Tried all the same.
    return wrong + (engine.run(shot, site).changed if again and not wrong else [])


_FIRST: list[tuple[Machine, list[tuple[str, Machine]]]] = []


@pytest.fixture
def first(site: dict[str, Any]) -> tuple[Machine, list[tuple[str, Machine]]]:
    """A machine after its first apply, and as it was before each step of it; applied once, not to be changed."""
    if not _FIRST:
        machine = world.machine(python=False)
        _FIRST.append((machine, shots(machine, site)))
    return _FIRST[0]


def test_first_apply_cut_at_every_step(first: tuple[Machine, list[tuple[str, Machine]]], site: dict[str, Any]) -> None:
    uncut, taken = first
    assert len(taken) > 50
    wrong = {}
    for n, (what, shot) in enumerate(taken):
        if found := wrong_after(shot.copy(), site, uncut, again=SOAK > 0 or n % 10 == 5):
            wrong[what] = found
    assert not wrong


def test_a_cut_is_what_the_steps_before_it_have_made(
    first: tuple[Machine, list[tuple[str, Machine]]], site: dict[str, Any]
) -> None:
    """The test above takes a shortcut: pictures of one apply instead of many that are cut. Here some really are."""
    taken = first[1]
    for at in range(0, len(taken), 1 if SOAK else 13):
        machine = world.machine(python=False)
        machine.cut_at = at
        done = engine.run(machine, site)
        assert done.failed
        assert machine.changes == at
        assert machine.picture() == taken[at][1].picture(), taken[at][0]


def test_settings_change_cut_at_every_step(converged: Machine, site: dict[str, Any]) -> None:
    """The coder gets another context: its server restarts, sooner or later, and no other."""
    before = dict(converged.starts)
    settings = {**site, "instances": {"coder": {"context": 8192}}}
    uncut = converged.copy()
    taken = shots(uncut, settings)
    assert {name for name in before if uncut.starts[name] != before[name]} == {"ollama@coder.service"}
    assert "num_ctx: 8192" in (uncut.text("/etc/holdfast/aider/model-settings.yml") or "")
    for what, shot in taken:
        assert wrong_after(shot, settings, uncut, again=True) == [], what
        started = {name: shot.starts[name] - before[name] for name in before}
        assert started == {name: int(name == "ollama@coder.service") for name in before}, what


def test_a_lost_restart_is_seen(converged: Machine, site: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: where a restart follows from nothing that can be seen, the apply after a cut does not make up for it."""
    settings = {**site, "instances": {"coder": {"context": 8192}}}
    right = unit.steps

    def blind(state: dict[str, Any] | None, *, config: str | None, **wanted: bool) -> list[str]:
        return right({**(state or {}), "stale": []}, config=None, **wanted)

    monkeypatch.setattr(unit, "steps", blind)
    assert engine.run(converged, settings).failed is False
    assert systemd.stale(converged) == ["ollama@coder.service"]
    assert engine.run(converged, settings).changed == []


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "cache": ({"ollama": {"cache_ram_mib": 0}}, {"ollama@coder.service", "ollama@reasoner.service"}),
    "hold": ({"ollama": {"lease_min_hold_s": 5}}, {"ollama@coder.service", "ollama@reasoner.service"}),
    "lease": ({"instances": {"reasoner": {"lease": ["left", "right", "fan"]}}}, {"ollama@reasoner.service"}),
    "unit": ({"ollama": {"memory_deny_write_execute": False}}, {"ollama@coder.service", "ollama@reasoner.service"}),
    "session": ({"open_webui": {"session_days": 7}}, {"open-webui.service"}),
    "limit": ({"models": {"limit_mib_s": 5}}, set()),
    "map": ({"aider": {"map_tokens": 0}}, set()),
    "package": ({"base": {"packages": ["tmux"]}}, set()),
    # The name is part of the page's address, which the server is told.
    "name": ({"tailscale": {"hostname": "other"}}, {"open-webui.service"}),
    "port": ({"open_webui": {"port": 8090}}, {"open-webui.service"}),
}


@pytest.mark.parametrize(("change", "restarts"), CHANGES.values(), ids=CHANGES)
def test_only_what_changed_restarts(
    change: dict[str, Any], restarts: set[str], converged: Machine, site: dict[str, Any]
) -> None:
    before = dict(converged.starts)
    settings = {**site, **{key: {**site.get(key, {}), **value} for key, value in change.items()}}
    done = engine.run(converged, settings)
    assert done.changed and not done.failed, done.errors
    assert {name for name in before if converged.starts[name] != before[name]} == restarts
    assert systemd.stale(converged) == []
    assert engine.run(converged, settings).changed == []


@pytest.mark.parametrize(("sha", "whole"), [("a" * 64, True), ("a" * 20, False)])
def test_a_new_release_is_switched_to_and_the_one_before_is_kept(
    sha: str, whole: bool, converged: Machine, site: dict[str, Any]
) -> None:
    """A machine that was left at an older release, its servers included; one that is not whole is no way back."""
    new = converged.disk["/opt/ollama/current"].target
    old = "0.0.1-" + sha[:12]
    there, older = f"/opt/ollama/{new}", f"/opt/ollama/{old}"
    converged.disk = {path.replace(there, older): node for path, node in converged.disk.items()}
    converged.write(f"{older}/.holdfast-release", sha)
    converged.disk["/opt/ollama/current"] = replace(converged.disk["/opt/ollama/current"], target=old)
    for server in ("ollama@coder.service", "ollama@reasoner.service"):
        systemd.start(converged, server)
    assert not engine.run(converged, site).failed
    assert systemd.stale(converged) == []
    versions = {path.split("/")[3] for path in converged.disk if path.startswith("/opt/ollama/")}
    assert versions == {"current", new} | ({old} if whole else set())
    assert converged.disk["/opt/ollama/current"].target == new
    assert engine.run(converged, site).changed == []
