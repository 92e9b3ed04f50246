"""The next step towards an installed driver with modules for the kernel that boots next. Pure."""

from __future__ import annotations

from dataclasses import replace

from holdfast.components.nvidia.checks import brings_kernels, cramped, joined, kernels_listed, lacking, room, unhide
from holdfast.components.nvidia.classify import Finding
from holdfast.components.nvidia.machine import Machine, branch
from holdfast.components.nvidia.names import DKMS, DRIVER, PREBUILT
from holdfast.components.nvidia.packages import Choice, Want, choose, flavour, foreign, missing, superseded
from holdfast.components.nvidia.repairing import advice, builders, given_up, on_hold, removed, repair, without_module
from holdfast.components.nvidia.steps import (
    SAME,
    Build,
    Image,
    Install,
    Repair,
    Step,
    Stop,
    Taken,
    look,
    stop,
    to_use,
    took,
)
from holdfast.errors import HoldfastError


def to_install(machine: Machine, want: Want, taken: Taken) -> Step | None:
    """The next step; None when nothing is to be installed, or there is no card."""
    found = look(machine, want)
    if found.state == "no_gpu" or want.source == "none":
        return None
    if machine.broken_packages:
        # None of the driver's, beside one that works: dpkg finishes before anything is installed, and else it is theirs.
        beside = found.works and not took(taken, Repair)
        whole = to_install(replace(machine, broken_packages=()), want, taken) if beside else None
        return repair(machine, found, taken) if not found.works or isinstance(whole, Install | Build | Image) else whole
    failed, lost = removed(taken), not found.works or without_module(machine)
    if found.state == "broken_packages":
        return stop(found, want)
    if machine.container and machine.module and machine.following is None:
        # The module is the host's: another one, or libraries of another version, would never serve here.
        return None if found.state != "absent" else _as_the_host(machine, found)
    try:
        choice = choose(machine, want)
    except HoldfastError as error:
        if failed and lost:
            return given_up(machine, failed, want)
        return None if found.works else Stop("absent", error.message, error.fix, error.where, error.allowed)
    # What was taken out is not put in again. Was it none of the driver's own (a second kind of module, tried by hand; a
    # kernel that it does not build for, with its metapackages), then the driver is whole.
    if failed and any(DRIVER.match(name) for name in {*failed.purge} & {*choice.packages}):
        return given_up(machine, failed, want) if lost else None
    return (
        _packages(machine, want, choice, found, taken)
        or _modules(machine, choice, found, taken)
        or _image(machine, taken)
    )


def _as_the_host(machine: Machine, found: Finding) -> Stop:
    why = f"{found.reason}; the driver of the machine around this container is {machine.module}"
    fix = f"give the container the libraries of exactly {machine.module}, and no modules, and set nvidia.source: none; {SAME}"
    return Stop("absent", why, fix)


def _packages(machine: Machine, want: Want, choice: Choice, found: Finding, taken: Taken) -> Step | None:
    other, lack = foreign(machine, choice), [name for name in missing(machine, choice) if not _for_no_kernel(machine, name)]
    moved = want.branch is not None and branch(machine.library) != choice.branch
    if found.works and not moved:
        another_kind = want.modules == "auto" and machine.kind != ("open" if choice.open else "proprietary")
        if other or branch(machine.library) != choice.branch or (choice.prebuilt and another_kind):
            return None
        # What works stays as it is; the next kernel needs its headers, or its modules, all the same, and who builds them.
        bare = without_module(machine) and not builders(machine)
        lack = [
            name for name in lack
            if name.startswith(("linux-headers-", "linux-modules-nvidia-")) or (bare and DKMS.fullmatch(name))
        ]  # fmt: skip
    elif other and not moved and found.state in ("needs_reload", "needs_reboot", "needs_key"):
        return None  # a driver of their own, whole: it is only to be brought into use
    elif other and (lack or not machine.library):
        return Stop("absent", f"{choice} would be mixed with {other}", _unmix(machine, choice), where="nvidia.source")
    if not lack and (found.state != "absent" or took(taken, Install)):
        return stop(found, want) if found.state == "absent" else None
    gone = superseded(machine, choice) if lack else []
    todo = tuple(lack or choice.packages)
    if held := on_hold(machine, [*todo, *gone], found.state, str(choice)):
        return held
    if took(taken, Install):
        return Stop(
            found.state,
            f"apt was done, and still missing: {', '.join(lack)}",
            f"on the machine: apt-cache policy {lack[0]}; {SAME}",
        )
    return Install(found.reason if found.state == "absent" else f"{choice}", choice, todo, tuple(gone))


def _for_no_kernel(machine: Machine, name: str) -> bool:
    """Whether ``name`` is the headers' metapackage where no new kernel comes by itself, and the one there is has all it needs:
    it would bring the newest kernel's headers, for DKMS to build, and perhaps to fail, for a kernel that is not there."""
    target = machine.target
    if not name.startswith("linux-headers-") or not (target.headers and target.module == machine.library != ""):
        return False
    return bool(kernels_listed(machine)) and not brings_kernels(machine)


def _unmix(machine: Machine, choice: Choice) -> str:
    """The way out where another source's driver is there: without it, or with it alone."""
    keep = "set nvidia.source: none to keep it and care for it yourself"
    there = [p for p in machine.driver_packages if p.state[1:] != "c"]
    others = [p.name for p in there if p.vendor != bool(choice.vendor)] or [p.name for p in there]
    if not others:
        return f"sudo nvidia-uninstall (a .run file's), {SAME}; or {keep}"
    theirs = choice.vendor == "" and machine.distribution == "debian" and any(p.vendor for p in there)
    more = "set nvidia.source: nvidia to stay with that repository, or " if theirs else ""
    return f"sudo apt purge {' '.join(sorted(others))}, {SAME}; or {more}{keep}"


def _modules(machine: Machine, choice: Choice, found: Finding, taken: Taken) -> Step | None:
    target, name = machine.target, machine.target.release
    if target.module == machine.library or (found.works and machine.following is None):
        return None
    why = lacking(machine) or f"no module for kernel {name}"
    if removal := unhide(machine, target):
        return Stop("next_kernel_broken", why, f"{removal}; {SAME}")
    again = [step for step in taken if isinstance(step, Install) and step.refresh]
    if machine.prebuilt:
        if again:
            fix = f"wait until your distribution has it (apt-cache policy {choice.packages[0]}), or boot an older kernel; {SAME}"
            return Stop("next_kernel_broken", why, fix)
        if found.works:
            choice = alike(machine, choice)
        held = on_hold(machine, choice.packages, "next_kernel_broken", f"kernel {name}, which boots next and has no module,")
        return held or Install(why, choice, choice.packages, refresh=True)
    if not builders(machine):
        # DKMS would find nothing to build.
        if not machine.driver_packages:
            return None if found.works else Stop("next_kernel_broken", why, f"{own_way(machine)}; {SAME}")
        needed = next((name for name in choice.packages if DKMS.fullmatch(name)), "the package that builds the modules")
        fix = f"install {needed} of branch {branch(machine.library)}, {SAME}"
        return Stop("next_kernel_broken", f"{why}; nothing is installed that builds it", fix)
    if not target.headers:
        if again:
            fix = f"bring the kernel up to date: sudo apt update && sudo apt full-upgrade; reboot; {SAME}"
            return Stop("needs_headers", f"{why}; the archive has no linux-headers-{name}", fix)
        return Install(why, choice, (f"linux-headers-{name}",), refresh=True)
    if took(taken, Build):
        failed = machine.failure(name)
        return Stop(
            "next_kernel_broken", f"{why}{'' if failed else ' (DKMS built none)'}", advice(machine, failed, choice)
        )
    return Build(why, name)


def alike(machine: Machine, choice: Choice) -> Choice:
    """The prebuilt modules of the driver that is there, as its owner chose it, and nothing else of it."""
    kinds = [found for name, p in machine.packages.items() if p.installed and (found := PREBUILT.match(name))]
    if not kinds:
        return choice
    # Several: those of the library that works, of the kind that is loaded.
    best = max(kinds, key=lambda m: (int(m[1]) == branch(machine.library), bool(m[2]) == (machine.kind_loaded == "open")))
    name = f"{best[0]}-{flavour(machine)}"
    return replace(choice, branch=int(best[1]), open=bool(best[2]), packages=(name,))


def _image(machine: Machine, taken: Taken) -> Step | None:
    following = machine.following
    if following is None or following.module != machine.library:
        return None
    stale = machine.nouveau and not following.current
    if following.initrd and not stale:
        return None
    if took(taken, Image):
        fix = f"on the machine: sudo update-initramfs -c -k {following.release} says why; is /boot full (df -h /boot)? {SAME}"
        return Stop(
            "next_kernel_broken",
            joined(f"kernel {following.release}, which boots next, gets no initrd", cramped(machine)),
            joined(room(machine), fix),
        )
    why = "its initrd would load nouveau" if stale else "it has no initrd"
    return Image(f"kernel {following.release} boots next: {why}", following.release)


def refusal(machine: Machine, want: Want) -> Stop | None:
    """What an apply would stop at before it takes any step; None where it takes one, or where that cannot be told."""
    if not machine.distribution:
        return None
    step = to_install(machine, want, ()) or to_use(machine, want, ())
    return step if isinstance(step, Stop) else None


def by_hand(machine: Machine, want: Want) -> str:
    """The way out of a next kernel that lacks its module or its initrd where an apply does nothing about it: a distribution
    whose packages are not known, a driver that the person keeps to herself. "" where an apply takes a step, or stops."""
    if look(machine, want).state != "next_kernel_broken" or to_install(machine, want, ()) or to_use(machine, want, ()):
        return ""
    if not lacking(machine):
        return ""  # it is there, and refused: the finding names the way
    return f"by hand, as `up` leaves this driver alone: {own_way(machine)}; or boot {machine.kernel} by default"


def own_way(machine: Machine) -> str:
    """How the module for the next kernel comes to a driver that is none of Holdfast's packages."""
    name, it = machine.target.release, machine.running
    if machine.library and not machine.driver_packages and not it.built:
        file = f"NVIDIA-Linux-x86_64-{machine.library}.run"
        return f"sudo sh {file} -k {name} (the file that the driver came from; it needs that kernel's headers)"
    return f"sudo dkms autoinstall -k {name} (it needs that kernel's headers), then make its initrd anew"
