"""NVIDIA cards and their driver, as the bus and the files show them."""

from __future__ import annotations

import re
from typing import Any

from tests.fake.machine import Machine, hears, runs

from holdfast.components.nvidia.facts import read_machine

LEFT, RIGHT = "0000:01:00.0", "0000:21:00.0"


def insert(m: Machine, *addresses: str, driver: str = "570.133.07") -> Machine:
    """Put 3090s into the machine; ``driver`` "": none is loaded (nouveau holds the cards)."""
    m.cards = dict.fromkeys(addresses, "nvidia" if driver else "nouveau")
    m.module = m.library = driver
    return m


@hears(r"^\s*for d in /sys/bus/pci/devices/\*; do")
def bus(m: Machine, found: re.Match[str], stdin: str) -> str:
    lines = [f"card {at} 0x030000\ncard {at.removesuffix('0')}1 0x040300" for at in m.cards]
    return "\n".join([*lines, *(["control"] if m.module else []), "end"])


@runs(read_machine)
def machine(m: Machine, root: str) -> Any:
    return {
        "gpus": [{"address": at, "device": "0x2204", "driver": driver} for at, driver in m.cards.items()],
        "nouveau": "nouveau" in m.cards.values(), "module": m.module, "open_module": True,
        "libraries": [m.library] if m.library else [], "kernel": "6.1.0-1", "kernels": ["6.1.0-1"], "initrds": ["6.1.0-1"],
        "secure_boot": False, "signatures_enforced": False, "broken_packages": [],
    }  # fmt: skip
