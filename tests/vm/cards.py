"""FAKE cards on the virtual machine's bus, until it reboots: sysfs as two RTX 3090s show there, and nothing behind it."""

from __future__ import annotations

from tests.driver.hardware import CARDS, FUNCTIONS
from tests.vm.machine import VmMachine


def plug(machine: VmMachine) -> None:
    script = ["set -e"]
    for card in CARDS:
        for number, (kind, device) in FUNCTIONS.items():
            folder = f"/run/fake-pci/{card.replace('.0', f'.{number}')}"
            script.append(
                f"mkdir -p {folder}; cd {folder}; echo 0x10de > vendor; echo {device} > device; echo {kind} > class"
            )
    machine.root("\n".join([*script, "mount --bind /run/fake-pci /sys/bus/pci/devices"]))
