"""NVIDIA cards of this computer, by what the PCI bus says: known before any driver."""

from __future__ import annotations

from pathlib import Path


def read_cards(bus: str = "/sys/bus/pci/devices") -> list[str]:
    """PCI addresses of NVIDIA's display controllers, in bus order. Standard library only: it also runs on the machine."""
    import os

    found = []
    for address in sorted(os.listdir(bus)) if os.path.isdir(bus) else []:
        try:
            with open(os.path.join(bus, address, "vendor")) as f:
                vendor = f.read().strip()
            with open(os.path.join(bus, address, "class")) as f:
                kind = f.read().strip()
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            found.append(address)
    return found


def has_nvidia(bus: Path | str = "/sys/bus/pci/devices") -> bool:
    """Whether this computer has an NVIDIA card."""
    return bool(read_cards(str(bus)))
