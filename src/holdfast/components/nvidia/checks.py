"""What of a machine stands in the way of a working driver: now, for a reload, at the next boot. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.components.nvidia.machine import Failure, Gpu, Kernel, Machine, branch
from holdfast.components.nvidia.names import DKMS
from holdfast.components.nvidia.signing import enrol, unsigned

# An initrd with its like beside it while it is made anew.
LITTLE_BOOT_MIB = 100


def joined(*parts: str) -> str:
    """Those of ``parts`` that say something, as one line."""
    return "; ".join(filter(None, parts))


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
        if have < kind.served:
            return f"driver {machine.library} is older than {kind.served}, the first with which Ollama takes {gpu} ({kind.name})"
        if wrong := misfit(gpu, machine.kind):
            return wrong
    return ""


def misfit(gpu: Gpu, kind: str) -> str:
    """Why modules of this kind do not drive the card; "" where they do, or none are there."""
    if kind == "open" and not gpu.card.architecture.open:
        return f"the open modules do not drive {gpu} ({gpu.card.architecture.name})"
    if kind == "proprietary" and not gpu.card.architecture.proprietary:
        return f"the proprietary modules do not drive {gpu} ({gpu.card.architecture.name}): it needs the open ones"
    return ""


def fallen(machine: Machine, gpu: Gpu) -> tuple[str, str] | None:
    """(what is wrong, way out) with a card that is on the bus's list and cannot be used; None with all others."""
    away = "sudo poweroff, wait a minute, look at the card's power cables and its seat, switch it on again"
    if not gpu.answers:
        return (
            f"{gpu} does not answer any more: it has fallen off the bus",
            f"{away} (a reboot alone seldom helps); sudo dmesg | grep -iE 'Xid|NVRM' says when it happened",
        )
    # Nothing but the module's own list, or another card that it has, tells a card that was left from a recording without it.
    known = gpu.bound is not None or any(other.driver == "nvidia" for other in machine.gpus)
    if machine.module and known and not gpu.bound and gpu.driver != "nvidia" and not machine.nouveau:
        sleeps = f", and it sleeps ({gpu.power})" if gpu.power.startswith("D3") else ""
        holder = f"{gpu.driver} holds it" if gpu.driver else "no driver holds it"
        return (
            f"{gpu} is on the bus and {holder}{sleeps}: the loaded module has not taken it",
            f"what gives it to {gpu.driver} is in /etc/modprobe.d or on the kernel's command line: take it out, then "
            "sudo update-initramfs -u; sudo reboot" if gpu.driver else
            f"sudo dmesg | grep -E 'NVRM|{gpu.address}' says why; often it gets too little power: {away}",
        )  # fmt: skip
    return None


def finish(machine: Machine) -> str:
    """What a person types to have dpkg finish, and tell why it does not; what was cut off while unpacked it passes over."""
    half = [n for n in machine.broken_packages if n in machine.packages and machine.packages[n].state[1:] == "H"]
    return joined("sudo dpkg --configure -a", f"sudo apt-get --reinstall install {' '.join(half[:5])}" if half else "")


def mixed(machine: Machine) -> tuple[str, str]:
    """The driver's packages, the distribution's and NVIDIA's, where its modules are of one and its libraries of the other;
    ("", "") for one origin."""
    there = [p for p in machine.driver_packages if p.installed]
    modules = {p.vendor for p in there if DKMS.fullmatch(p.name)}
    libraries = {p.vendor for p in there if re.match(r"libcuda1$|nvidia-driver-cuda$|libnvidia-", p.name)}
    if not modules or not libraries or modules == libraries:
        return "", ""
    own, theirs = (" ".join(sorted(p.name for p in there if p.vendor == vendor)) for vendor in (False, True))
    return own, theirs


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
        told = f": {failed}" if failed else why
        if unhide(machine, following):
            told = f": it hides the {following.hidden} of the packages"
        return f"kernel {following.release}, which boots next, {has}{told}"
    if following.initrd:
        return ""
    return joined(f"kernel {following.release}, which boots next, has no initrd", cramped(machine))


def kernels_listed(machine: Machine) -> list[str]:
    """Packages of kernels, each of one release; none where the package list was not read, or no kernel is a package's."""
    return [name for name in machine.packages if re.match(r"linux-image-(unsigned-)?\d", name)]


def brings_kernels(machine: Machine) -> list[str]:
    """Installed metapackages that bring the next kernel: linux-image-amd64, linux-image-generic-hwe-24.04."""
    return [n for n, p in machine.packages.items() if p.installed and re.match(r"linux-image-(?!unsigned-)[a-z]", n)]


def refused(machine: Machine) -> str:
    """That the kernel that boots next has a module and will not take it; "" when it will, or has none."""
    following = machine.following
    if following is None or not unsigned(machine, following):
        return ""
    why = "it has no signature" if following.signed is False else "its key is not enrolled"
    return f"kernel {following.release}, which boots next, will refuse the module: {why}"


def unhide(machine: Machine, kernel: Kernel) -> str:
    """What takes away ``kernel``'s module where it hides the packages' own, which the libraries need; "" elsewhere."""
    if not kernel.hidden == machine.library != "":
        return ""
    return f"sudo dkms remove nvidia/{kernel.module} --all (dkms status has its name; the packages' own is {kernel.hidden})"


def cramped(machine: Machine) -> str:
    """That /boot is full, where it is (no initrd fits, and no kernel); "" where it is not, or that is not known."""
    free = machine.boot_free_mib
    return "" if free is None or free >= LITTLE_BOOT_MIB else f"/boot has {max(free, 0)} MiB left"


def room(machine: Machine) -> str:
    """What makes room in /boot; "" where there is enough."""
    return "sudo apt autoremove --purge takes out old kernels (df -h /boot)" if cramped(machine) else ""


def broken_build(machine: Machine) -> Failure | None:
    """The failed build behind the half-installed packages, if there is one."""

    half = {name for name in machine.broken_packages if DKMS.fullmatch(name)}
    whole = {name for name in machine.packages if DKMS.fullmatch(name)} - half

    def blocks(failed: Failure) -> bool:
        kernel = machine.kernels.get(failed.kernel) if failed.kernel else machine.target
        if kernel is None:
            return False  # a log stays when its kernel goes
        if kernel.module != failed.version:
            return True
        # Built since, unless what is there is the whole package's module, of the other kind and the same version.
        same = {name for name in half if failed.module == "nvidia" or ("open" in name) == ("open" in failed.module)}
        return bool(same and whole)

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
