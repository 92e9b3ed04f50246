"""The next step towards an installed driver with modules for the kernel that boots next. Pure.

A DKMS build that fails leaves dpkg half way, and then every apt command fails; when it fails for a new kernel, that kernel
has no initrd and boots next all the same. So what cannot be built is taken out again, and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from holdfast.components.nvidia.checks import broken_build, cramped, finish, joined, lacking, room, unhide
from holdfast.components.nvidia.classify import Finding, State
from holdfast.components.nvidia.machine import Failure, Machine, branch
from holdfast.components.nvidia.names import DKMS, META, PREBUILT
from holdfast.components.nvidia.packages import Choice, Want, choose, flavour, foreign, missing, superseded
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
        return _repair(machine, found, taken) if not found.works or isinstance(whole, Install | Build | Image) else whole
    failed = removed(taken)
    if found.state == "broken_packages":
        return stop(found, want)
    if machine.container and machine.module and machine.following is None:
        # The module is the host's: another one, or libraries of another version, would never serve here.
        return None if found.state != "absent" else _as_the_host(machine, found)
    try:
        choice = choose(machine, want)
    except HoldfastError as error:
        if failed and not found.works:
            return _given_up(machine, failed, want)
        return None if found.works else Stop("absent", error.message, error.fix, error.where, error.allowed)
    # What was taken out is not put in again. Was it none of the driver's own (a second kind of module, tried by hand; a
    # kernel that it does not build for), then the driver is whole.
    if failed and not set(failed.purge).isdisjoint(choice.packages):
        return None if found.works else _given_up(machine, failed, want)
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
    other, lack = foreign(machine, choice), missing(machine, choice)
    moved = want.branch is not None and branch(machine.library) != choice.branch
    if found.works and not moved:
        another_kind = want.modules == "auto" and machine.kind != ("open" if choice.open else "proprietary")
        if other or branch(machine.library) != choice.branch or (choice.prebuilt and another_kind):
            return None
        # What works stays as it is; the next kernel needs its headers, or its modules, all the same.
        lack = [name for name in lack if name.startswith(("linux-headers-", "linux-modules-nvidia-"))]
    elif other and not moved and found.state in ("needs_reload", "needs_reboot", "needs_key"):
        return None  # a driver of their own, whole: it is only to be brought into use
    elif other and (lack or not machine.library):
        return Stop("absent", f"{choice} would be mixed with {other}", _unmix(machine, choice), where="nvidia.source")
    if not lack and (found.state != "absent" or took(taken, Install)):
        return stop(found, want) if found.state == "absent" else None
    gone = superseded(machine, choice) if lack else []
    todo = tuple(lack or choice.packages)
    if held := _held(machine, [*todo, *gone], found.state, str(choice)):
        return held
    if took(taken, Install):
        return Stop(
            found.state,
            f"apt was done, and still missing: {', '.join(lack)}",
            f"on the machine: apt-cache policy {lack[0]}; {SAME}",
        )
    return Install(found.reason if found.state == "absent" else f"{choice}", choice, todo, tuple(gone))


def _held(machine: Machine, names: Sequence[str], state: State, needs: str) -> Stop | None:
    """apt changes nothing that is on hold, and fails."""
    held = sorted({*names} & {*machine.held})
    why = f"{', '.join(held)} is on hold, and {needs} needs it changed"
    return Stop(state, why, f"sudo apt-mark unhold {' '.join(held)}; {SAME}") if held else None


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
        held = _held(machine, choice.packages, "next_kernel_broken", f"kernel {name}, which boots next and has no module,")
        return held or Install(why, choice, choice.packages, refresh=True)
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


def _repair(machine: Machine, found: Finding, taken: Taken) -> Step:
    names, failed = culprits(machine), broken_build(machine)
    repairs = [step for step in taken if isinstance(step, Repair)]
    purged = any(step.purge for step in repairs)
    if names and not purged and (failed or repairs):
        if held := _held(machine, names, found.state, "the repair"):
            return held
        return Repair(f"{', '.join(names)} cannot be set up: taken out again", names, failed)
    if not repairs:
        return Repair(f"half-installed packages: {', '.join(machine.broken_packages[:5])}")
    fix = joined(room(machine), f"on the machine: {finish(machine)} says why", SAME)
    return Stop(found.state, found.reason, fix)


def culprits(machine: Machine) -> tuple[str, ...]:
    """Packages to purge so that dpkg can finish; never the running kernel's, and never the last kernel that boots.

    A new kernel that the driver does not build for goes, so that the machine boots the old one with its driver; else the
    driver's own DKMS package goes.
    """
    broken = set(machine.broken_packages)
    modules = sorted(name for name in broken if DKMS.fullmatch(name))
    kernels = sorted(name for name in broken if re.match(r"linux-(image|headers)-", name))
    others = [
        k
        for k in machine.kernels.values()
        if k.bootable and k.initrd and not any(k.release in name for name in kernels)
    ]
    if modules:
        return tuple(modules)
    if kernels and others and not any(machine.kernel and machine.kernel in name for name in kernels):
        metas = [name for name in broken if META.fullmatch(name)]
        return tuple(sorted({*kernels, *metas}))
    if kernels:
        return tuple(sorted(p.name for p in machine.driver_packages if "dkms" in p.name))
    return ()


def removed(taken: Taken) -> Repair | None:
    """The repair that took packages out, if there was one."""
    return next((step for step in taken if isinstance(step, Repair) and step.purge), None)


def _given_up(machine: Machine, step: Repair, want: Want) -> Stop:
    failed = step.failure
    what = (
        f"{failed.module} {failed.version} does not build for kernel {failed.kernel or machine.target.release}: {failed.line}"
        if failed
        else step.why
    )
    why = f"{what}. Taken out again: {', '.join(step.purge)}; apt works, and the machine boots"
    try:
        return Stop("broken_packages", why, advice(machine, failed, choose(machine, want)))
    except HoldfastError as error:
        return Stop("broken_packages", why, error.fix)


def advice(machine: Machine, failed: Failure | None, choice: Choice) -> str:
    """The fix for a build that failed."""
    log = f"; all of the log: {kept(failed)}" if failed else ""
    if failed and not choice.vendor and machine.distribution == "debian":
        if choice.open:
            return f"set nvidia.modules: auto (Debian's own open modules do not build with its kernel), {SAME}{log}"
        own = f"keep to the release's own kernel (sudo apt install linux-image-amd64/{machine.codename})"
        return f"{own}, or set nvidia.source: nvidia, {SAME}{log}"
    return f"another nvidia.branch, or an older kernel that it builds for, {SAME}{log}"


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
    name = machine.target.release
    build = f"sudo dkms autoinstall -k {name} (it needs that kernel's headers), then make its initrd anew"
    return f"by hand, as `up` leaves this driver alone: {build}; or boot {machine.kernel} by default"


def kept(failed: Failure) -> str:
    """Where the log of a failed build is kept: the original goes with its package."""
    return f"/var/log/holdfast-nvidia-{failed.version}-{failed.kernel or 'kernel'}.log"
