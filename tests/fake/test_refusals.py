"""What cannot work is said before anything is changed, by name, and with a way out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.fake import cards, engine, world
from tests.fake.machine import Machine

from holdfast.depot import lock
from holdfast.depot.record import RELEASE


def refused(machine: Machine, site: dict[str, Any]) -> dict[str, Any]:
    """The one error of an apply that changed nothing. A plan says the same first, without failing, and what waits for it."""
    plan, done = engine.run(machine, site, dry=True), engine.run(machine, site)
    assert done.failed
    assert machine.log == [], "refused before anything was changed"
    assert len(done.errors) == 1
    assert done.errors[0]["fix"]
    assert not plan.errors
    assert same(plan.stops[0]) == same(done.errors[0])
    assert not set(plan.planned) & {event["name"] for event in done.events if event["event"] == "operation_failed"}
    assert set(plan.planned) >= WAITING
    return done.errors[0]


# Pending on a bare machine, whatever stands in the way.
WAITING = {
    "Base | Install base packages", "Models: start | Declare the models", "Models: start | Start fetching the models",
    "Tailscale | Add Tailscale's package repository", "Tailscale | Install tailscale", "Ollama | Install Ollama",
    "Ollama | Run the coder", "Open WebUI | Run Open WebUI", "Models: wait | Wait for the models",
}  # fmt: skip


def same(event: dict[str, Any]) -> dict[str, Any]:
    return {key: event[key] for key in ("message", "where", "allowed", "fix")}


def test_no_cards(site: dict[str, Any]) -> None:
    error = refused(world.machine(python=False), {**site, "require_gpu": True})
    assert "left (0000:01:00.0)" in error["message"] and "right (0000:21:00.0)" in error["message"]


def test_one_card_of_two(site: dict[str, Any]) -> None:
    world.record(RELEASE)
    machine = cards.insert(world.machine(python=False), world.LEFT)
    error = refused(machine, {**site, "require_gpu": True})
    assert "right (0000:21:00.0)" in error["message"] and "left" not in error["message"]
    assert world.LEFT in error["allowed"]


def test_a_server_without_cuda_on_a_machine_with_cards(site: dict[str, Any]) -> None:
    machine = cards.insert(world.machine(python=False), world.LEFT, world.RIGHT)
    assert "built here" in refused(machine, {**site, "require_gpu": True})["message"]


def test_vendors_without_a_hash(site: dict[str, Any]) -> None:
    error = refused(world.machine(python=False), {**site, "depot": ""})
    assert "ollama" in error["message"] and "unverified" in error["message"]
    assert "./holdfast depot update ollama" in error["fix"]


def test_the_key_of_the_vendors_packages_without_a_hash(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama's pin has been resolved, the one for Tailscale's repository has not."""
    file = tmp_path / "artifacts.yml"
    shutil.copy(lock.lock_file(), file)
    lock.write("ollama", 1000, world.digest("ollama"), file)
    monkeypatch.setattr(lock, "lock_file", lambda: file)
    error = refused(world.machine(python=False), {**site, "depot": ""})
    assert "tailscale-keyring" in error["message"] and "unverified" in error["message"]


def test_a_depot_that_nobody_has_filled(site: dict[str, Any]) -> None:
    (Path(world.cache_dir()) / "built.json").unlink()
    assert "./holdfast depot fetch ollama" in refused(world.machine(python=False), site)["fix"]


def test_models_without_a_digest(site: dict[str, Any]) -> None:
    error = refused(world.machine(python=False), {**site, "models": {}})
    assert "qwen2.5-coder:32b" in error["message"]
    assert "./holdfast depot update qwen2.5-coder:32b" in error["fix"]


@pytest.mark.parametrize("python", [False, True], ids=["bare", "python3"])
def test_no_join_key(python: bool, site: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(world.KEY_VARIABLE)
    error = refused(world.machine(python=python), site)
    assert world.KEY_VARIABLE in error["message"] and "one-off key" in error["fix"]


def test_a_plan_tells_every_obstacle_and_lists_what_it_would_without_any(
    site: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hashes, two digests, a card and a key that are missing; the tailnet's hash where it is needed, too."""
    machine = world.machine(python=False)
    free = engine.run(machine, site, dry=True)
    assert not free.stops
    monkeypatch.delenv(world.KEY_VARIABLE)
    held = engine.run(machine, {**site, "depot": "", "models": {}, "require_gpu": True}, dry=True)
    assert held.planned == free.planned, "a plan that stops is a whole plan"
    assert not held.errors and machine.changes == 0
    said = "\n".join(dict.fromkeys(stop["message"] for stop in held.stops))
    assert len(said.splitlines()) == 5
    for word in ("SHA-256 of ollama", "SHA-256 of tailscale-keyring", "qwen2.5-coder:32b", "deepseek-r1:70b", world.KEY_VARIABLE):
        assert said.count(word) == 1
    assert all(stop["fix"] for stop in held.stops)


def test_the_same_settings_without_the_obstacle(site: dict[str, Any]) -> None:
    """Control: with the cards, the release, the hashes and the key of above it goes through."""
    world.record(RELEASE)
    machine = cards.insert(world.machine(python=False), world.LEFT, world.RIGHT)
    assert not engine.run(machine, {**site, "require_gpu": True}).failed
