"""The reader of cards: one function that travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_cards(root: str, text: Callable[..., str], names: Callable[..., list[str]], link: Callable[..., str]) -> Any:
    """NVIDIA's display devices on the PCI bus, and what has taken them: {"gpus", "nouveau", "nouveau_cards"}.

    ``text``, ``names``, ``link``: read a file, list a folder, where a link leads.
    """
    import os

    def folder(name: str) -> bool:
        return os.path.isdir(os.path.join(root, name))

    def ones(at: str) -> bool:
        try:
            with open(os.path.join(root, at, "config"), "rb") as f:
                return f.read(2) == b"\xff\xff"
        except OSError:
            return False

    gpus = []
    # The cards that the loaded module has taken; None where it does not say.
    taken = set(names("proc/driver/nvidia/gpus")) if folder("proc/driver/nvidia/gpus") else None
    for address in names("sys/bus/pci/devices"):
        at = f"sys/bus/pci/devices/{address}"
        # Class 03 is a display controller: the card's audio function has the same vendor and class 04.
        if text(at, "vendor") == "0x10de" and text(at, "class").startswith("0x03"):
            driver = os.path.basename(link(at, "driver"))
            power = text(at, "power_state")
            # A card that has fallen off the bus answers every question with ones. One that sleeps would be woken by it.
            answers = power == "D3cold" or not ones(at)
            gpus.append({
                "address": address, "device": text(at, "device"), "driver": driver, "power": power, "answers": answers,
                "bound": None if taken is None else address in taken,
            })  # fmt: skip
    # The addresses that nouveau is bound to; None where the bus has no list of its.
    lists = [names(at) for name in ("nouveau", "nova_core", "NovaCore") if folder(at := f"sys/bus/pci/drivers/{name}")]
    return {
        "gpus": gpus,
        # nova takes nouveau's place in newer kernels, and stands in the way as it does.
        "nouveau": any(folder(f"sys/module/{name}") for name in ("nouveau", "nova_core")),
        "nouveau_cards": [name for found in lists for name in found if ":" in name] if lists else None,
    }
