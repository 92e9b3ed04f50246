"""The driver on simulated machines: per distribution and state, through the whole deploy, cut off and applied again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.fake import cards, engine, systemd, world
from tests.fake.cards import KERNEL, NEWER
from tests.fake.gpubox import CODER, bare, driven, notes, works
from tests.fake.machine import Machine, differences
from tests.fake.test_interrupted import shots

from holdfast.components.models import files as models
from holdfast.components.nvidia.sources import KEYRING, PREFERENCES, SOURCE
from holdfast.depot.record import RELEASE

INSTALL, USE = "NVIDIA | Install the NVIDIA driver", "NVIDIA | Bring the NVIDIA driver into use"


@pytest.mark.parametrize(("distribution", "codename"), [*world.DISTRIBUTIONS, ("ubuntu", "resolute")])
def test_from_nothing_to_models_on_the_cards_in_one_apply(
    distribution: str, codename: str, required: dict[str, Any]
) -> None:
    if codename == "resolute":
        required = {**required, "tailscale": {"enabled": False}}
    m = bare(distribution, codename, python=True)
    plan = engine.run(m, required, dry=True)
    assert m.changes == 0 and {INSTALL, USE} <= set(plan.planned)
    assert "reboot: yes, because nouveau holds the cards" in notes(plan)
    held = "./holdfast depot fetch driver-trixie" if codename == "trixie" else "no depot has it yet"
    assert f"one set, to be kept together: driver-{codename}: linux-image-" in notes(plan) and held in notes(plan)
    first = engine.run(m, required)
    assert not first.failed, first.errors
    assert m.driver.boots == 1 and works(m)
    vendor = codename == "bookworm"
    assert (SOURCE in m.disk, PREFERENCES in m.disk, KEYRING in m.disk) == (vendor,) * 3
    headers = "linux-headers-amd64" in m.packages
    assert headers == (distribution == "debian")
    for path in ("/etc/modprobe.d/holdfast-nvidia.conf", "/etc/modules-load.d/holdfast-nvidia.conf"):
        assert path in m.disk
    assert "Package-Blacklist" in (m.text("/etc/apt/apt.conf.d/52holdfast-nvidia") or "")
    daemon = m.units["nvidia-persistenced.service"].process
    assert daemon and "--persistence-mode" in daemon.text
    second = engine.run(m, required)
    assert (second.changed, second.failed, m.driver.boots) == ([], False, 1)
    assert systemd.stale(m) == []


def test_a_bare_machine_is_planned_before_python_is_there(required: dict[str, Any]) -> None:
    m = bare()
    plan = engine.run(m, required, dry=True)
    assert {INSTALL, USE} <= set(plan.planned) and not plan.errors
    first = engine.run(m, required)
    assert not first.failed and works(m)
    assert set(first.changed) <= set(plan.planned) | {"NVIDIA | Run nvidia-persistenced"}


def test_without_cards_nothing_is_said_to_change(converged: Machine, site: dict[str, Any]) -> None:
    before = len(converged.heard)
    done = engine.run(converged, site)
    assert [name for name in done.changed if "NVIDIA" in name] == []
    looks = [stdin for _, stdin in converged.heard[before:] if "def read_machine" in stdin]
    assert len(looks) == 1, "one look is enough for a machine without cards"
    assert "no NVIDIA GPU" in notes(done)


def test_an_update_is_reloaded_and_only_the_servers_restart(required: dict[str, Any]) -> None:
    m = driven(required)
    before = dict(m.starts)
    m.library = "550.200.01"
    m.driver.kernels[KERNEL] = {**m.driver.kernels[KERNEL], "module": m.library}
    m.driver.holders = [("llama-server", CODER)]
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert (m.module, m.driver.boots) == ("550.200.01", 1) and works(m)
    again = {name for name in m.starts if m.starts[name] != before.get(name, 0)}
    assert again == {CODER, "ollama@reasoner.service", "nvidia-persistenced.service"}
    assert before[models.UNIT], "what fetches models was started by the first apply, and is not in the set above"
    assert engine.run(m, required).changed == []


def test_a_reload_that_is_refused_becomes_a_reboot(required: dict[str, Any]) -> None:
    m = driven(required)
    m.library = "550.200.01"
    m.driver.kernels[KERNEL] = {**m.driver.kernels[KERNEL], "module": m.library}
    m.driver.in_use = True
    done = engine.run(m, required)
    assert not done.failed and m.driver.boots == 2 and works(m)


def test_a_new_kernel_that_the_driver_does_not_build_for_is_taken_out_again(required: dict[str, Any]) -> None:
    m = driven(required)
    m.packages |= {f"linux-image-{NEWER}": "2", f"linux-headers-{NEWER}": "2"}
    m.driver.states = {f"linux-image-{NEWER}": "iF", f"linux-headers-{NEWER}": "iF"}
    m.driver.kernels[NEWER] = {"module": "", "initrd": False, "current": True, "headers": True}
    m.driver.failures = [
        {"module": "nvidia-current", "version": m.library, "kernel": NEWER, "line": "x.c: error: y", "log": "/l"}
    ]
    m.driver.unbuildable = (NEWER,)
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert m.driver.states == {} and m.driver.kernels.keys() == {KERNEL} and m.driver.boots == 1 and works(m)


def test_a_newer_kernel_gets_its_headers_and_its_module_without_a_reboot(required: dict[str, Any]) -> None:
    m = driven(required)
    m.driver.kernels[NEWER] = {"module": "", "initrd": True, "current": True, "headers": False}
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert m.driver.kernels[NEWER]["module"] == m.library and m.driver.boots == 1
    assert engine.run(m, required).changed == []


def test_a_driver_of_ones_own_that_works_is_left_alone(required: dict[str, Any]) -> None:
    world.record(RELEASE)
    m = cards.insert(world.machine(), world.LEFT, world.RIGHT)
    done = engine.run(m, required)
    assert not done.failed and works(m) and m.library == "570.133.07"
    assert not any(what.startswith("apt ") for _, what in m.log)


def test_power_is_capped_and_read_back_also_after_a_reboot(required: dict[str, Any]) -> None:
    settings = {**required, "nvidia": {"power_limit_w": {"left": 280, "right": 280}}}
    m = driven(settings)
    assert m.driver.watts == {world.LEFT: 280.0, world.RIGHT: 280.0}
    assert engine.run(m, settings).changed == []
    m.driver.watts = {}
    assert engine.run(m, settings).changed == ["NVIDIA | Cap the cards' power"]
    m.driver.watts, m.driver.deaf = {}, True
    done = engine.run(m, settings)
    assert done.failed and "was told 280 W and says 350" in done.errors[0]["message"]
    done = engine.run(driven(required), {**required, "nvidia": {"power_limit_w": {"left": 900}}})
    assert done.failed and done.errors[0]["allowed"] == "100 to 366 W"


def test_a_cap_that_a_reload_loses_is_set_again_in_the_same_apply(required: dict[str, Any]) -> None:
    settings = {**required, "nvidia": {"power_limit_w": {"left": 280}}}
    m = driven(settings)
    m.library = "550.200.01"
    m.driver.kernels[KERNEL] = {**m.driver.kernels[KERNEL], "module": m.library}
    # Until then nvidia-smi says nothing but that versions differ: no reason to stop.
    plan = engine.run(m, settings, dry=True)
    assert {USE, "NVIDIA | Cap the cards' power"} <= set(plan.planned)
    assert not [event for event in plan.events if event["event"] == "stop"]
    done = engine.run(m, settings)
    assert not done.failed and m.driver.boots == 1 and m.driver.watts == {world.LEFT: 280.0}
    assert engine.run(m, settings).changed == []


def test_a_cap_for_cards_that_are_not_required_and_not_there_is_told_and_left(site: dict[str, Any]) -> None:
    settings = {**site, "nvidia": {"source": "none", "power_limit_w": {"left": 280}}}
    for m in (bare(python=True), world.machine()):
        done = engine.run(m, settings)
        assert not done.failed, done.errors
        assert "the cards' power is not capped" in notes(done)
        again = engine.run(m, settings, dry=True)
        assert again.planned == [] and not [event for event in again.events if event["event"] == "stop"]
    done = engine.run(bare(python=True), {**settings, "require_gpu": True})
    assert done.failed


def test_always_on_and_back(required: dict[str, Any], site: dict[str, Any], converged: Machine) -> None:
    path = "/etc/systemd/sleep.conf.d/holdfast.conf"
    assert path not in converged.disk
    awake = {**site, "nvidia": {"always_on": True}}
    assert engine.run(converged, awake).changed == ["NVIDIA | Keep the machine awake, or let it sleep"]
    assert "AllowSuspend=no" in (converged.text(path) or "")
    assert engine.run(converged, awake).changed == []
    engine.run(converged, site)
    assert path not in converged.disk


def test_cut_off_at_every_step_of_the_driver(required: dict[str, Any]) -> None:
    """The power goes before any step: applied again, it ends where an uncut apply ends, with one reboot at most a run."""
    uncut = bare(python=True)
    taken = shots(uncut, required)
    mine = [(what, shot) for what, shot in taken if shot.operation.startswith("NVIDIA | ")]
    assert len(mine) > 12
    for what, shot in mine:
        boots = shot.driver.boots
        done = engine.run(shot, required)
        assert not done.failed, (what, done.errors)
        assert shot.driver.boots <= boots + 1
        assert differences(_steady(shot), _steady(uncut)) == [], what


def test_cut_off_at_every_step_of_a_reload(required: dict[str, Any]) -> None:
    start = driven(required)
    start.library = "550.200.01"
    start.driver.kernels[KERNEL] = {**start.driver.kernels[KERNEL], "module": start.library}
    uncut = start.copy()
    taken = shots(uncut, required)
    assert any("unload" in what for what, _ in taken)
    for what, shot in taken:
        done = engine.run(shot, required)
        assert not done.failed, (what, done.errors)
        assert works(shot) and shot.driver.boots == 1, what
        assert all(shot.units[name].process for name, unit in start.units.items() if unit.process), what


def _steady(m: Machine) -> dict[str, Any]:
    picture = m.picture()
    return {**picture, "disk": {p: n for p, n in picture["disk"].items() if not p.startswith("/run")},
            "units": {name: replace(unit, process=None) for name, unit in picture["units"].items()}}  # fmt: skip


def test_a_module_that_was_not_loaded_is_loaded_and_the_servers_start_anew(required: dict[str, Any]) -> None:
    m = driven(required)
    before = dict(m.starts)
    m.module = ""
    m.cards = dict.fromkeys(m.cards, "")
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert m.driver.boots == 1 and works(m)
    assert {name for name in before if m.starts[name] != before[name]} == {CODER, "ollama@reasoner.service"}
    m.module, m.driver.refuses = "", True
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 1
    assert "the kernel does not load it" in done.errors[0]["message"] and "No such device" in done.errors[0]["message"]


def test_modules_that_are_yet_to_be_built_are_planned_with_the_reboot_behind_them(required: dict[str, Any]) -> None:
    m = driven(required)
    m.module, m.cards = "", dict.fromkeys(m.cards, "nouveau")
    m.driver.kernels[KERNEL] = {**m.driver.kernels[KERNEL], "module": ""}
    plan = engine.run(m, required, dry=True)
    assert {INSTALL, USE} <= set(plan.planned)
    assert "reboot: yes, because nouveau holds the cards" in notes(plan)
    assert not [event for event in plan.events if event["event"] == "stop"], "an apply stops nowhere"
    done = engine.run(m, required)
    assert not done.failed and m.driver.boots == 2 and works(m)
