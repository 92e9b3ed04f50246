"""Why a machine has no card to compute on, or lacks a declared one, and the way out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.components.nvidia.checks import joined, usable_gpus
from holdfast.components.nvidia.machine import Gpu, Machine

# Of Windows' subsystem for Linux: nothing that Holdfast installs could drive a card there.
WSL = "its kernel is Windows' own and takes no NVIDIA modules, the driver belongs to Windows, and no card has a PCI address here"
WSL_FIX = (
    "use a computer that runs Linux itself; or set require_gpu: false here (install the driver in Windows, none in here: Ollama "
    "may then find the card by itself, but Holdfast neither checks nor assigns it)"
)
CORRECT = "is it plugged in and powered? else correct gpus in hosts.yml: lspci -D | grep -i nvidia shows the addresses"
HANDED = "handed to a virtual machine (vfio-pci)"
TAKE_BACK = (
    "take it back (out of the virtual machine; vfio-pci's ids are in /etc/modprobe.d or on the kernel's command line: take them "
    "out, then sudo update-initramfs -u; sudo reboot), or take it out of `gpus` and of the instances"
)


def handed(gpu: Gpu) -> str:
    return f"{gpu} is {HANDED}"


def elsewhere(machine: Machine) -> tuple[Gpu, ...]:
    """The cards that are there, and belong to a virtual machine."""
    own = usable_gpus(machine)
    return tuple(gpu for gpu in machine.gpus if gpu not in own)


def declared_and_gone(machine: Machine, declared: Mapping[str, str]) -> tuple[str, ...]:
    """What is declared and on no bus, in words."""
    there = {gpu.address for gpu in machine.gpus}
    return tuple(f"no NVIDIA GPU at {at} (gpus.{name})" for name, at in declared.items() if at not in there)


def declared_and_handed(machine: Machine, declared: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(what is wrong, way out) for each declared card that a virtual machine has."""
    return tuple((handed(gpu), TAKE_BACK) for gpu in elsewhere(machine) if gpu.address in declared.values())


def none_usable(machine: Machine) -> tuple[str, str, str]:
    """(words about the cards, reason, way out) of a machine that has none of its own; ("", "", "") of every other."""
    if machine.wsl:
        return "no NVIDIA GPU on the PCI bus: this is WSL", f"this is WSL: {WSL}", WSL_FIX
    if usable_gpus(machine):
        return "", "", ""
    if machine.withheld:
        reason = f"this container was given none of its host's cards ({', '.join(machine.withheld)}): /dev/nvidiactl is missing"
        fix = "give it the cards (/dev/nvidia* and the driver's libraries) where it is declared, or set require_gpu: false"
        return "no NVIDIA GPU", reason, fix
    if machine.gpus:
        return "no NVIDIA GPU of its own", joined(*map(handed, machine.gpus)), f"{TAKE_BACK}; without any set require_gpu: false"
    fix = (
        "is the card seated, powered, and not handed to another machine? lspci -nn -d 10de: must list it; "
        "without one set require_gpu: false"
    )
    return "no NVIDIA GPU", "no NVIDIA GPU on the PCI bus", fix


def somewhere(machine: Machine) -> bool:
    """Whether there is a card at all, be it Windows', the host's or a virtual machine's."""
    return bool(machine.gpus or machine.withheld or machine.wsl)
