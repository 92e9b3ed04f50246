"""The next step where dpkg is half way, and what is told when a build has failed for good. Pure.

A DKMS build that fails leaves dpkg half way, and then every apt command fails; when it fails for a new kernel, that kernel
has no initrd and boots next all the same. So what cannot be built is taken out again, and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.components.nvidia.checks import broken_build, finish, joined, room
from holdfast.components.nvidia.classify import Finding, State
from holdfast.components.nvidia.machine import Failure, Machine
from holdfast.components.nvidia.names import DKMS, META
from holdfast.components.nvidia.packages import Choice, Want, choose
from holdfast.components.nvidia.steps import SAME, Repair, Step, Stop, Taken, look, took
from holdfast.errors import HoldfastError


def without_module(machine: Machine) -> bool:
    """Whether the kernel that boots next would come up without a driver, whatever is loaded now."""
    return machine.target.module != machine.library


def builders(machine: Machine) -> tuple[str, ...]:
    """The packages, installed or half so, that have DKMS build modules."""
    return tuple(sorted(name for name in machine.packages if DKMS.fullmatch(name)))


def on_hold(machine: Machine, names: Sequence[str], state: State, needs: str) -> Stop | None:
    """apt changes nothing that is on hold, and fails."""
    held = sorted({*names} & {*machine.held})
    why = f"{', '.join(held)} is on hold, and {needs} needs it changed"
    return Stop(state, why, f"sudo apt-mark unhold {' '.join(held)}; {SAME}") if held else None


def repair(machine: Machine, found: Finding, taken: Taken) -> Step:
    # First of all, whatever log lies there: after a power cut it is all that was missing.
    if not took(taken, Repair):
        return Repair(f"half-installed packages: {', '.join(machine.broken_packages[:5])}")
    names = culprits(machine)
    if names and not removed(taken):
        if held := on_hold(machine, names, found.state, "the repair"):
            return held
        return Repair(f"{', '.join(names)} cannot be set up: taken out again", names, broken_build(machine))
    fix = joined(room(machine), f"on the machine: {finish(machine)} says why", SAME)
    return Stop(found.state, found.reason, fix)


def culprits(machine: Machine) -> tuple[str, ...]:
    """Packages to purge so that dpkg can finish; never the running kernel's, and never the last kernel that boots.

    A new kernel that the driver does not build for goes, so that the machine boots the old one with its driver; else the
    driver's own DKMS package goes, unless the module is there for the kernel that boots next: what works stays.
    """
    broken, failed = set(machine.broken_packages), broken_build(machine)
    modules = sorted(name for name in broken if DKMS.fullmatch(name))
    kernels = {name for name in broken if re.match(r"linux-(image|headers)-", name)}
    here = machine.running
    if failed and failed.kernel not in ("", here.release) and here.module and here.module in (machine.library, failed.version):
        # Whole or half, its packages are what has DKMS build for it.
        kernels |= {name for name in machine.packages if name.endswith(f"-{failed.kernel}") and name.startswith("linux-")}
        modules = [] if _others_boot(machine, kernels) else modules
    if modules:
        return tuple(modules) if failed or {*builders(machine)} - broken or without_module(machine) else ()
    if kernels and _others_boot(machine, kernels):
        return tuple(sorted({*kernels, *(name for name in broken if META.fullmatch(name))}))
    if kernels and (failed or without_module(machine)):
        return tuple(sorted(p.name for p in machine.driver_packages if "dkms" in p.name))
    return ()


def _others_boot(machine: Machine, gone: set[str]) -> bool:
    """Whether the machine boots without the kernels' packages ``gone``, and none of them is the running kernel's."""
    if not gone or (machine.kernel and any(machine.kernel in name for name in gone)):
        return False
    kept = (k for k in machine.kernels.values() if not any(k.release in name for name in gone))
    return any(k.bootable and k.initrd for k in kept)


def removed(taken: Taken) -> Repair | None:
    """The repair that took packages out, if there was one."""
    return next((step for step in taken if isinstance(step, Repair) and step.purge), None)


def given_up(machine: Machine, step: Repair, want: Want) -> Stop:
    failed = step.failure
    gone = ", ".join(step.purge)
    what = f"{gone} could not be set up and had to be taken out again"
    if failed:
        build = f"{failed.module} {failed.version} does not build for kernel {failed.kernel or machine.target.release}"
        what = f"{build}: {failed.line}. Taken out again: {gone}"
    until = ", without a driver" if look(machine, want).works else ""
    why = f"{what}; apt works, and the machine boots{until}"
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


def kept(failed: Failure) -> str:
    """Where the log of a failed build is kept: the original goes with its package."""
    return f"/var/log/holdfast-nvidia-{failed.version}-{failed.kernel or 'kernel'}.log"
