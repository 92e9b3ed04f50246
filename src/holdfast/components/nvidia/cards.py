"""Which driver branches and which kind of module drive a card, by its PCI device id. Pure.

The ids: https://pci-ids.ucw.cz/read/PC/10de; the limits: NVIDIA's driver READMEs (supported chips, kernel_open) and its
Unix legacy page. The last branch for Maxwell, Pascal and Volta is 580; Turing is the first that the open modules drive;
Blackwell is driven by nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.fit import CARDS, by_device

# Older than what the fit knows figures of, and still put into such machines; all others are shown by their id.
_OLDER = {
    0x1B06: "GeForce GTX 1080 Ti",
    0x1B80: "GeForce GTX 1080",
    0x1E04: "GeForce RTX 2080 Ti",
}

NEWEST = 999


@dataclass(frozen=True)
class Architecture:
    """Branches ``first`` to ``last`` drive it; with ``open`` modules, with ``proprietary`` ones.

    ``served``: the first branch with which Ollama computes on it (Ollama, discover/cuda_compat.go: 550, and 570 for compute
    capabilities below 7.0; with an older one it takes the CPU and says so in its log alone). ``cuda_13``: that library has code
    for it (CUDA 13.0's release notes, deprecated architectures).
    """

    name: str
    first: int
    last: int = NEWEST
    open: bool = True
    proprietary: bool = True
    served: int = 0
    cuda_13: bool = True


# Fermi's last branch; what is older still ended at 340 and before. https://www.nvidia.com/en-us/drivers/unix/legacy-gpu/
LEGACY = Architecture("Fermi or older", 71, 390, open=False, cuda_13=False)
KEPLER = Architecture("Kepler", 304, 470, open=False, cuda_13=False)
MAXWELL = Architecture("Maxwell", 340, 580, open=False, served=570, cuda_13=False)
PASCAL = Architecture("Pascal", 367, 580, open=False, served=570, cuda_13=False)
VOLTA = Architecture("Volta", 384, 580, open=False, cuda_13=False)
TURING = Architecture("Turing", 410)
AMPERE = Architecture("Ampere", 455)
ADA = Architecture("Ada", 520)
HOPPER = Architecture("Hopper", 520)
BLACKWELL = Architecture("Blackwell", 570, proprietary=False)
# An id that no table here has. Above Blackwell's: a newer card, which only the open modules drive.
UNKNOWN = Architecture("of an unknown kind", 0)
NEWER = Architecture("newer than Blackwell", 580, proprietary=False)

# First id of each range, to the next.
_RANGES = (
    (0x0000, LEGACY), (0x0FC0, KEPLER), (0x1040, LEGACY), (0x1100, KEPLER), (0x1140, LEGACY), (0x1141, KEPLER),
    (0x1200, LEGACY), (0x1260, KEPLER), (0x1340, MAXWELL), (0x15F0, PASCAL), (0x1600, MAXWELL), (0x1700, UNKNOWN),
    (0x17C0, MAXWELL), (0x1800, UNKNOWN), (0x1B00, PASCAL), (0x1D80, VOLTA), (0x1E00, TURING), (0x2080, AMPERE),
    (0x2180, TURING), (0x2200, AMPERE), (0x2300, HOPPER), (0x2380, AMPERE), (0x2600, UNKNOWN), (0x2680, ADA),
    (0x2900, BLACKWELL), (0x3000, NEWER), (0x3180, BLACKWELL), (0x3200, NEWER),
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A model of card, by name, and what drives it."""

    name: str
    architecture: Architecture


def card(device: str) -> Card:
    """The card of a PCI device id as sysfs writes it ("0x2204")."""
    try:
        number = int(device, 16)
    except ValueError:
        return Card(f"NVIDIA device {device or '?'}", UNKNOWN)
    kind = [architecture for first, architecture in _RANGES if first <= number][-1]
    return Card(_name(number) or f"NVIDIA device {device}", kind)


def _name(number: int) -> str:
    known = by_device(f"{number:04x}")
    # Without the size of its memory, which the id does not always tell.
    return re.sub(r" \d+GB$", "", CARDS[known].name) if known else _OLDER.get(number, "")
