"""What of a machine stands in the way of a working driver: now, for a reload, at the next boot. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.components.nvidia.machine import DKMS, Failure, Gpu, Machine, branch
from holdfast.components.nvidia.signing import enrol, unsigned


def usable_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """The cards that are this machine's own: not handed to a virtual machine."""
    return tuple(gpu for gpu in machine.gpus if gpu.driver != "vfio-pci")


def driven(machine: Machine, declared: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The cards that the driver must be right for: the declared ones, or all where none of them is there."""
    own = usable_gpus(machine)
    return tuple(gpu for gpu in own if gpu.address in declared.values()) or own


def unfit(machine: Machine, gpus: tuple[Gpu, ...], minimum: int) -> str:
    """Why the installed driver is not the right one for these cards and for Ollama; "" when it is."""
    # Too old is refused by Ollama with one line in its log, and then the CPU computes.
    have = branch(machine.library)
    if have < minimum:
        return f"driver {machine.library} is older than {minimum}"
    for gpu in gpus:
        kind = gpu.card.architecture
        if have < kind.first:
            return f"driver {machine.library} is older than {kind.first}, the first for {gpu} ({kind.name})"
        if have > kind.last:
            return f"driver {machine.library} drives {gpu} no longer ({kind.name}: up to {kind.last})"
        if machine.module == machine.library:
            if machine.open_module and not kind.open:
                return f"the open modules do not drive {gpu} ({kind.name})"
            if not machine.open_module and not kind.proprietary:
                return f"the proprietary modules do not drive {gpu} ({kind.name}): it needs the open ones"
    return ""


def safe(machine: Machine) -> bool:
    """The reboot gate: the kernel that boots next is whole and has the module that the libraries need."""
    following = machine.following
    return bool(
        following and following.initrd and following.module == machine.library != "" and not machine.broken_packages
        and not unsigned(machine, following)
    )  # fmt: skip


def lacking(machine: Machine) -> str:
    """What keeps the kernel that boots next from being right; "" when nothing does, or it cannot be known."""
    following = machine.following
    if following is None:
        return ""
    if following.module != machine.library:
        has = (
            f"has module {following.module}, the libraries are {machine.library}"
            if following.module
            else "has no module"
        )
        why = "" if following.headers or machine.prebuilt else ": its headers are not installed"
        failed = machine.failure(following.release)
        told = f": {failed.module} {failed.version} does not build: {failed.line}" if failed else why
        return f"kernel {following.release}, which boots next, {has}{told}"
    return "" if following.initrd else f"kernel {following.release}, which boots next, has no initrd"


def broken_build(machine: Machine) -> Failure | None:
    """The failed build behind the half-installed packages, if there is one."""

    def blocks(failed: Failure) -> bool:
        # A module of the other kind and the same version may be there, and works.
        half = [name for name in machine.broken_packages if DKMS.fullmatch(name)]
        same = [name for name in half if failed.module == "nvidia" or ("open" in name) == ("open" in failed.module)]
        return bool(same) or machine.kernels.get(failed.kernel, machine.target).module != failed.version

    return next(filter(blocks, machine.failures), None)


def reloadable(machine: Machine) -> str:
    """Why the module cannot be exchanged while the machine runs; "" when it can."""
    if machine.running.module != machine.library:
        return f"kernel {machine.running.release}, which runs, has no module {machine.library}"
    if machine.drm_users:
        return "a screen uses the card"
    people = [str(holder) for holder in machine.holders if not holder.unit]
    if people:
        return f"the cards are held by {', '.join(people[:3])}"
    return (
        f"the new module is not signed with a known key ({enrol(machine)})"
        if unsigned(machine, machine.running)
        else ""
    )
