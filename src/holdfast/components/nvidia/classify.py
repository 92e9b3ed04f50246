"""What a machine's cards and driver amount to, in words, and whether that is enough. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from holdfast.components.nvidia.machine import Machine

State = Literal["no_gpu", "present"]


@dataclass(frozen=True)
class Finding:
    """The state, a sentence about it, and what speaks against computing on the cards (none: nothing does)."""

    state: State
    words: str
    problems: tuple[str, ...] = ()
    fix: str = ""

    @property
    def usable(self) -> bool:
        """True when the declared cards are there and a driver that Ollama takes is loaded."""
        return self.state == "present" and not self.problems


def classify(machine: Machine, declared: Mapping[str, str], minimum_driver: int) -> Finding:
    """The finding. ``declared`` is Workstation.gpus (name -> PCI address), ``minimum_driver`` a driver branch (550)."""
    there = {gpu.address: gpu for gpu in machine.gpus}
    missing = tuple(f"no NVIDIA GPU at {at} (gpus.{name})" for name, at in declared.items() if at not in there)
    if not machine.gpus:
        return Finding(
            "no_gpu", "no NVIDIA GPU", missing or ("no NVIDIA GPU on the PCI bus",),
            "is the card seated, powered, and not handed to another machine? lspci -nn -d 10de: must list it; "
            "without one set require_gpu: false",
        )  # fmt: skip
    cards = ", ".join(map(str, machine.gpus))
    driver = _driver(machine, minimum_driver)
    words = f"{cards}; {_loaded(machine)}"
    if missing:
        fix = "correct gpus in hosts.yml: lspci -D | grep -i nvidia shows the addresses"
        return Finding("present", words, (*missing, *driver), fix)
    fix = f"install the NVIDIA driver (branch {minimum_driver} or newer) by hand for the kernel in use, reboot, apply again"
    return Finding("present", words, driver, fix if driver else "")


def _loaded(machine: Machine) -> str:
    kind = "open" if machine.open_module else "proprietary"
    return f"driver {machine.module} ({kind}) is loaded" if machine.module else "no NVIDIA driver is loaded"


def _driver(machine: Machine, minimum: int) -> tuple[str, ...]:
    """What is wrong with the driver, most urgent first."""
    out = []
    if machine.broken_packages:
        out.append(f"half-installed packages: {', '.join(machine.broken_packages[:5])}")
    taken = [gpu.address for gpu in machine.gpus if gpu.driver == "vfio-pci"]
    if taken:
        out.append(f"handed to a virtual machine (vfio-pci): {', '.join(taken)}")
    if not machine.libraries:
        out.append("the driver's libraries are not installed (no libcuda)")
    elif len(machine.libraries) > 1:
        out.append(f"libraries of several drivers are installed: {', '.join(machine.libraries)}")
    if not machine.module:
        holder = ": nouveau holds the cards" if machine.nouveau else ""
        signed = " (the kernel takes signed modules only)" if machine.signatures_enforced else ""
        out.append(f"the driver's module is not loaded{holder}{signed}")
        return tuple(out)
    if machine.libraries and machine.libraries[-1] != machine.module:
        out.append(f"the loaded module is {machine.module}, the libraries are {machine.libraries[-1]}: a reboot is due")
    # Too old is refused by Ollama with one line in its log, and then the CPU computes.
    if int(machine.module.split(".")[0]) < minimum:
        out.append(f"driver {machine.module} is older than {minimum}")
    return tuple(out)
