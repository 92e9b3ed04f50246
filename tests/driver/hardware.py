"""FAKE hardware: a PCI bus with two RTX 3090s, as sysfs shows one, for a machine on a computer that has none.

Addresses, classes and ids are those of real cards (sysfs of a machine with two of them); everything behind the bus is missing,
so that no module can drive these.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from holdfast.paths import cache_dir

CARDS = ("0000:01:00.0", "0000:21:00.0")
# Class and device: the display, and the sound that the same card has.
FUNCTIONS = {"0": ("0x030000", "0x2204"), "1": ("0x040300", "0x1aef")}


def bus() -> dict[str, Path]:
    """Path in the machine -> what is shown there: the bus; and the device file that tells a container it was given cards."""
    folder = cache_dir() / "fake-hardware"
    if not folder.is_dir():
        making = Path(f"{folder}.{os.getpid()}")
        for card in CARDS:
            for number, (kind, device) in FUNCTIONS.items():
                function = making / "pci" / card.replace(".0", f".{number}")
                function.mkdir(parents=True)
                for name, value in {"vendor": "0x10de", "device": device, "class": kind}.items():
                    (function / name).write_text(f"{value}\n")
        (making / "nvidiactl").touch()
        try:
            making.rename(folder)
        except OSError:
            shutil.rmtree(making)  # another was quicker
    return {"/sys/bus/pci/devices": folder / "pci", "/dev/nvidiactl": folder / "nvidiactl"}
