"""What was read of a machine's cards and driver, as one immutable value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

# PCI device ids of cards that people put into such machines; others are shown by their id.
# https://pci-ids.ucw.cz/read/PC/10de
_NAMES = {
    "0x2204": "GeForce RTX 3090",
    "0x2203": "GeForce RTX 3090 Ti",
    "0x2684": "GeForce RTX 4090",
    "0x2b85": "GeForce RTX 5090",
}


@dataclass(frozen=True)
class Gpu:
    """One card: its PCI address (``0000:01:00.0``), device id (``0x2204``), and the driver that holds it ("" for none)."""

    address: str
    device: str
    driver: str = ""

    def __str__(self) -> str:
        return f"{_NAMES.get(self.device, f'NVIDIA device {self.device}')} at {self.address}"


@dataclass(frozen=True)
class Machine:
    """See facts.read_machine for where each comes from."""

    gpus: tuple[Gpu, ...] = ()
    nouveau: bool = False
    module: str = ""
    """Version of the loaded kernel module."""
    open_module: bool = False
    libraries: tuple[str, ...] = ()
    """Versions of libcuda; two or more are a mixed installation."""
    kernel: str = ""
    """The running kernel's release."""
    next_kernel: str = ""
    """What will boot next: the newest under /boot; "" where there is none (a container)."""
    next_initrd: bool = False
    secure_boot: bool = False
    signatures_enforced: bool = False
    broken_packages: tuple[str, ...] = ()


def version_key(text: str) -> tuple[tuple[int, str], ...]:
    """Sorts 6.12.9 before 6.12.107."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text))


def parse(found: dict[str, Any]) -> Machine:
    """The Machine in what ``read_machine`` returned."""
    kernels = sorted(found["kernels"], key=version_key)
    following = kernels[-1] if kernels else ""
    return Machine(
        gpus=tuple(Gpu(**gpu) for gpu in found["gpus"]),
        nouveau=found["nouveau"],
        module=found["module"],
        open_module=found["open_module"],
        libraries=tuple(sorted(found["libraries"], key=version_key)),
        kernel=found["kernel"],
        next_kernel=following,
        next_initrd=following in found["initrds"],
        secure_boot=found["secure_boot"],
        signatures_enforced=found["signatures_enforced"],
        broken_packages=tuple(found["broken_packages"]),
    )
