"""With a FAKE loaded driver and a FAKE nvidia-smi (fake/): what the component does around a driver that works. No result here
says anything about a real card."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.driver.fake import driver as fake
from tests.driver.machine import REQUIRED, DriverMachine

from holdfast.components.nvidia.classify import classify

CAPS = {"nvidia__power_limit_w": {"left": 280, "right": 300}}
LIMITS = "nvidia-smi --query-gpu=pci.bus_id,power.limit --format=csv,noheader"
DEFAULT = "00000000:01:00.0, 350.00 W\n00000000:21:00.0, 350.00 W\n"


@pytest.fixture
def version(machine: DriverMachine) -> str:
    return machine.facts().library


@pytest.fixture
def loaded(machine: DriverMachine, version: str) -> Iterator[DriverMachine]:
    with fake.loaded(machine, version):
        yield machine


def test_fake_cards_are_used_and_capped_and_read_back(loaded: DriverMachine) -> None:
    found = classify(loaded.facts(), {}, 550)
    assert (found.state, found.works) == ("ready", True), found
    told = loaded.applied(**REQUIRED)
    assert told.driver_changed == ["NVIDIA | Run nvidia-persistenced"] and "driver 550" in told.driver_notes
    assert loaded.root("systemctl is-active nvidia-persistenced") == "active\n" and loaded.root(LIMITS) == DEFAULT
    told = loaded.applied(**REQUIRED, **CAPS)
    assert told.driver_changed == ["NVIDIA | Cap the cards' power"]
    assert loaded.root(LIMITS) == "00000000:01:00.0, 280.00 W\n00000000:21:00.0, 300.00 W\n"
    assert loaded.applied(**REQUIRED, **CAPS).driver_changed == []
    # Changed behind its back, it is set again; taken out of the settings, the card has its own default.
    loaded.root("nvidia-smi -i 1 -pl 200")
    assert loaded.applied(**REQUIRED, **CAPS).driver_changed == ["NVIDIA | Cap the cards' power"]
    assert loaded.applied(**REQUIRED).driver_changed == ["NVIDIA | Cap the cards' power"] and loaded.root(LIMITS) == DEFAULT


def test_a_fake_card_that_ignores_its_cap_is_told(loaded: DriverMachine) -> None:
    """nvidia-smi warns and ends with status 0."""
    loaded.root(f"touch {fake.FOLDER}/deaf")
    told = loaded.apply(**REQUIRED, **CAPS)
    assert told.error is not None and "was told 280 W and says 350" in told.error.message
    loaded.root(f"rm {fake.FOLDER}/deaf")
    told = loaded.apply(**REQUIRED, nvidia__power_limit_w={"left": 500})
    assert told.error is not None and "500 W is no limit" in told.error.message and "100 to 366 W" in told.error.allowed
    loaded.applied()


def test_a_fake_module_of_another_version_is_not_exchanged_by_force(machine: DriverMachine, version: str) -> None:
    """After an update: libraries are newer than what is loaded. Nothing in a container may unload a module."""
    with fake.loaded(machine, "550.90.07"):
        assert machine.shell("nvidia-smi").returncode == 18
        found = classify(machine.facts(), {}, 550)
        assert found.state == "needs_reboot" and f"module 550.90.07 is loaded, the libraries are {version}" in found.reason
        told = machine.apply(**REQUIRED)
        assert told.error is not None and "needs_reboot" in told.error.message and "container" in told.error.message
