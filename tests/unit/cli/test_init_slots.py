"""The reader of the PCI bus, on folders that look like a machine's sysfs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from holdfast.cli.pci import read_slots
from holdfast.components.nvidia.slots import NvidiaSlots
from holdfast.fit.slot import Slot

CARD = {
    "vendor": "0x10de", "class": "0x030000", "device": "0x2204", "boot_vga": "0", "max_link_width": "16",
    "max_link_speed": "16.0 GT/s PCIe", "current_link_width": "16", "current_link_speed": "2.5 GT/s PCIe", "numa_node": "-1",
}  # fmt: skip
PORT = {"vendor": "0x8086", "class": "0x060400", "max_link_width": "16", "max_link_speed": "16.0 GT/s PCIe"}


def put(folder: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


def plug(root: Path, address: str, values: dict[str, str], port: dict[str, str] | None = None) -> None:
    """A device behind a port of its own, as sysfs has it: a link to a folder below the port's."""
    above = root / "sys/devices/pci0000:00" / f"port-{address}"
    put(above, PORT if port is None else port)
    put(above / address, values)
    devices = root / "sys/bus/pci/devices"
    devices.mkdir(parents=True, exist_ok=True)
    os.symlink(os.path.relpath(above / address, devices), devices / address)


def read(root: Path) -> list[Slot]:
    script = NvidiaSlots().command(str(root))
    done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, check=True)
    found = NvidiaSlots().process(done.stdout.splitlines())
    assert found.complete and found.user
    return list(found.slots)


def test_a_card_before_any_driver(tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", CARD | {"boot_vga": "1"})
    # Its sound device, and the processor's own graphics.
    plug(tmp_path, "0000:01:00.1", CARD | {"class": "0x040300"})
    plug(tmp_path, "0000:00:02.0", CARD | {"vendor": "0x8086"})
    (found,) = read(tmp_path)
    assert found == Slot("0000:01:00.0", "2204", "", 16.0, 16, 16, None, True, -1)
    assert found.display and found.link == "PCIe 4.0 x16" and found.gb_s == pytest.approx(31.5, abs=0.01)


def test_the_slot_sets_the_limit_and_an_idle_link_does_not(tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", CARD, PORT | {"max_link_width": "4", "max_link_speed": "8.0 GT/s PCIe"})
    plug(tmp_path, "0000:02:00.0", CARD | {"current_link_width": "1"})
    plug(tmp_path, "0000:03:00.0", CARD, {})
    narrow, riser, unknown_port = read(tmp_path)
    assert (narrow.speed, narrow.width, narrow.link) == (8.0, 4, "PCIe 3.0 x4")
    assert (riser.width, riser.width_now, riser.link) == (16, 1, "PCIe 4.0 x16 (now x1)")
    assert (unknown_port.speed, unknown_port.width) == (16.0, 16)


def test_monitors_where_a_driver_knows_of_them(tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", CARD | {"drm/card1/card1-DP-1/status": "disconnected", "boot_vga": "1"})
    at = {"drm/card2/card2-DP-1/status": "disconnected", "drm/card2/card2-HDMI-A-1/status": "connected"}
    plug(tmp_path, "0000:02:00.0", CARD | at)
    plug(tmp_path, "0000:03:00.0", CARD | {"drm/renderD130/dev": "1:1"})
    assert [(slot.monitor, slot.display) for slot in read(tmp_path)] == [(False, False), (True, True), (None, False)]


def test_the_driver_and_the_node(tmp_path: Path) -> None:
    plug(tmp_path, "0000:41:00.0", CARD | {"class": "0x030200", "numa_node": "1"})
    os.symlink("../../../bus/pci/drivers/vfio-pci", tmp_path / "sys/bus/pci/devices/0000:41:00.0/driver")
    (found,) = read(tmp_path)
    assert (found.driver, found.node) == ("vfio-pci", 1)


@pytest.mark.parametrize(
    "values",
    [
        {"vendor": "0x10de", "class": "0x030000"},
        CARD
        | {
            "max_link_width": "255",
            "max_link_speed": "Unknown",
            "device": "; reboot",
            "numa_node": "x",
            "boot_vga": "",
        },
    ],
)
def test_what_cannot_be_read_is_not_known(values: dict[str, str], tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", values, {})
    (found,) = read(tmp_path)
    assert (found.device, found.gb_s, found.link, found.display) == ("", 0.0, "its link is not known", False)


@pytest.mark.parametrize("mark", ["run/systemd/container", ".dockerenv", "run/.containerenv"])
def test_a_container_does_not_see_its_hosts_cards(mark: str, tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", CARD)
    assert len(read(tmp_path)) == 1
    put(tmp_path, {mark: "x"})
    assert read(tmp_path) == []
    put(tmp_path, {"dev/nvidiactl": ""})
    assert len(read(tmp_path)) == 1


def test_an_answer_that_breaks_off_is_none() -> None:
    assert not NvidiaSlots().process(["card 0000:01:00.0", "device 0x2204"]).complete
    assert NvidiaSlots().process(["card ../../etc", "device 0x2204", "end"]).slots == ()


def test_this_computers_own_bus_can_be_read() -> None:
    assert read_slots().complete
