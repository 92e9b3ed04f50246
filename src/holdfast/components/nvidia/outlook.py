"""What an apply would come to, were every step to go well: whether it would reboot, and why. For a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Kernel, Machine, Package, branch
from holdfast.components.nvidia.names import DKMS
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.signing import CANONICAL
from holdfast.components.nvidia.steps import (
    Build,
    Image,
    Install,
    Reload,
    Repair,
    Step,
    Stop,
    Taken,
    ends,
    hindrance,
    look,
    to_use,
)
from holdfast.versions import version_key

# More than any way to an installed driver has steps.
_STEPS = 8


def foreseen(machine: Machine, want: Want) -> tuple[Machine, Stop | None]:
    """The machine after the steps that install, and what they would stop at; a version to come is known by its branch alone."""
    taken: Taken = ()
    while len(taken) < _STEPS:
        step = to_install(machine, want, taken)
        if step is None or isinstance(step, Stop):
            return machine, step
        machine, taken = _after(machine, step), (*taken, step)
    return machine, None


def _after(machine: Machine, step: Step) -> Machine:
    kernels = machine.kernels
    if isinstance(step, Build):
        return replace(machine, kernels={**kernels, step.kernel: _with_module(kernels[step.kernel], machine.library)})
    if isinstance(step, Image):
        whole = replace(kernels[step.kernel], initrd=True, current=True)
        return replace(machine, kernels={**kernels, step.kernel: whole})
    if isinstance(step, Repair):
        return _repaired(machine, step)
    return _installed(machine, step) if isinstance(step, Install) else machine


def _with_module(kernel: Kernel, version: str, signer: str = "") -> Kernel:
    # What DKMS builds is signed with the machine's own key.
    return replace(
        kernel, module=version, signer=signer, signed=None, built=not signer, hidden="", initrd=True, current=True
    )


def _purges_modules(step: Repair, kept: Mapping[str, Package]) -> bool:
    """Whether what DKMS has built goes with the packages: no other one of them stays."""
    return any(map(DKMS.fullmatch, step.purge)) and not any(map(DKMS.fullmatch, kept))


def _without_modules(kernel: Kernel) -> Kernel:
    # What it hid, a package's, is the one that is loaded then.
    return replace(kernel, module=kernel.hidden, signer="", signed=None, built=False, hidden="") if kernel.built else kernel


def _repaired(machine: Machine, step: Repair) -> Machine:
    kept = {n: replace(p, state=f"{p.state[:1]}i") for n, p in machine.packages.items() if n not in step.purge}
    builds = any(DKMS.fullmatch(name) for name in machine.broken_packages if name in kept)
    before = {k: _without_modules(v) for k, v in machine.kernels.items()} if _purges_modules(step, kept) else machine.kernels
    kernels = {
        release: _with_module(kernel, machine.library) if builds and kernel.headers
        else replace(kernel, initrd=kernel.initrd or f"linux-image-{release}" in machine.broken_packages)
        for release, kernel in before.items() if f"linux-image-{release}" not in step.purge
    }  # fmt: skip
    following = machine.next_kernel if machine.next_kernel in kernels else max(kernels, key=version_key, default="")
    return replace(machine, packages=kept, broken_packages=(), failures=(), kernels=kernels, next_kernel=following)


def _installed(machine: Machine, step: Install) -> Machine:
    choice, target = step.choice, machine.target.release
    # Headers and modules for another kernel leave the libraries as they are. A module that runs without any libraries is of
    # the version to come, as far as can be told.
    known = machine.library or machine.module
    other = machine.library and all(n.startswith("linux-") for n in step.packages)
    version = known if other or branch(known) == choice.branch else str(choice.branch)
    there = {n: p for n, p in machine.packages.items() if n not in step.remove}
    there |= {n: Package(n, version, vendor=bool(choice.vendor)) for n in step.packages}
    # Modules that come ready are for the newest kernel alone; DKMS builds them for each that has its headers.
    signer = CANONICAL if choice.prebuilt else ""
    kernels = {
        release: _with_module(replace(kernel, headers=True), version, signer)
        if release == target or (kernel.headers and not choice.prebuilt) else kernel
        for release, kernel in {target: machine.target, **machine.kernels}.items()
    }  # fmt: skip
    return replace(machine, packages=there, libraries=(version,), kernels=kernels)


def _ready_made(machine: Machine, end: Machine) -> bool:
    """Whether Ubuntu's modules are installed on the way from ``machine`` to ``end``."""
    return any(n.startswith("linux-modules-nvidia-") and machine.packages.get(n) != p for n, p in end.packages.items())


def outlook(machine: Machine, want: Want) -> str:
    """Whether this apply will reboot, and why."""
    if want.source == "none":
        return "reboot: no"
    end, stop = foreseen(machine, want)
    if stop is not None and ends(stop, want):
        return "reboot: no"
    found = look(end, want)
    if found.state == "needs_key" and end is not machine:
        return "reboot: by a person at the machine's own screen, who lets the modules' key in there"
    kept = hindrance(end, want, found.reason)
    if found.state == "needs_reload":
        # Modules that come ready bring the kernel that they were built for, the archive's newest.
        newer = f"the archive's modules are for a newer kernel than {machine.kernel}" if _ready_made(machine, end) else ""
        exchanged = not kept and isinstance(to_use(end, want, ()), Reload)
        ifs = [words for words in ("the modules cannot be exchanged while the machine runs" if exchanged else "", newer) if words]
        if ifs:
            return f"{f'{kept.plan},' if kept else 'reboot:'} only if {', or if '.join(ifs)}"
    if found.state != "needs_reboot" or found.works:
        return "reboot: no"
    return f"{kept.plan if kept else 'reboot: yes'}, because {found.reason}"
