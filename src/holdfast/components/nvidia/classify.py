"""What a machine's cards and driver amount to: one state, why, and the way out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from holdfast.components.nvidia.absence import (
    CORRECT,
    WSL_FIX,
    declared_and_gone,
    declared_and_handed,
    elsewhere,
    handed,
    none_usable,
)
from holdfast.components.nvidia.checks import (
    brings_kernels,
    broken_build,
    cramped,
    driven,
    fallen,
    finish,
    joined,
    kernels_listed,
    lacking,
    misfit,
    mixed,
    refused,
    reloadable,
    room,
    safe,
    unfit,
    unhide,
    usable_gpus,
)
from holdfast.components.nvidia.machine import Gpu, Kernel, Machine
from holdfast.components.nvidia.signing import enrol, unsigned

State = Literal[
    "no_gpu", "absent", "broken_packages", "needs_headers", "needs_key", "needs_reload", "needs_reboot",
    "next_kernel_broken", "ready",
]  # fmt: skip
APPLY = "./holdfast up HOST makes it so"
_REBOOT = f"{APPLY}; by hand: sudo reboot"
_RESTART = f"{APPLY} (the models' servers restart)"
# For a container, whose kernel is not its own.
HOST = "the machine that this one runs on has the kernel: that one needs the driver, or the reboot"


def addressed(text: str, name: str) -> str:
    """``text`` with the machine's name in the commands that say HOST."""
    return re.sub(r"(?<=\./holdfast up )HOST\b", name, text)


@dataclass(frozen=True)
class Finding:
    """The state; ``words`` about the cards and the driver; ``reason`` for the state and the way out of it (``fix``).

    ``works``: models can compute on the cards now, whatever becomes of it at the next boot. ``missing``: what was declared
    and is not there. ``lost``: cards that are there and cannot be used, each with its way out. ``notes``: what is worth
    knowing and wrong with nothing.
    """

    state: State
    words: str
    reason: str
    fix: str = ""
    works: bool = False
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What speaks against computing on the cards now."""
        gone = (*self.missing, *(words for words, _ in self.lost))
        return gone if self.works else (*gone, self.reason)

    @property
    def usable(self) -> bool:
        """True when the declared cards are there and a driver that Ollama takes is loaded."""
        return self.works and not self.missing and not self.lost


def classify(machine: Machine, declared: Mapping[str, str], minimum_driver: int) -> Finding:
    """The finding. ``declared``: name -> PCI address of the cards in use; ``minimum_driver``: a driver branch (550)."""
    own, missing = usable_gpus(machine), declared_and_gone(machine, declared)
    away = declared_and_handed(machine, declared)
    words, reason, fix = none_usable(machine)
    if reason:
        return Finding("no_gpu", words, reason, fix, missing=missing, lost=away)
    notes = tuple(handed(gpu) for gpu in elsewhere(machine) if gpu.address not in declared.values())
    words = f"{', '.join(map(str, own))}; {_loaded(machine)}"
    state, reason, fix = _driver(machine, driven(machine, declared), minimum_driver)
    works = _works(machine, state)
    if machine.broken_packages and not machine.broken_driver:
        works, reason, fix = _beside(machine, driven(machine, declared), minimum_driver, reason, fix)
    if machine.container and state == "needs_reboot":
        fix = HOST
    gone = {gpu: told for gpu in own if (told := fallen(machine, gpu)) and (not gpu.answers or works)}
    needed = [gpu for gpu in gone if not declared or gpu.address in declared.values()]
    notes = (*notes, *(gone[gpu][0] for gpu in gone if gpu not in needed), *_notes(machine, state))
    lost = (*away, *(gone[gpu] for gpu in needed))
    if missing or lost:
        fix = CORRECT if missing else lost[0][1]
    return Finding(state, words, reason, fix, works, missing, notes, lost)


def findings(machine: Machine, declared: Mapping[str, str], minimum_driver: int) -> list[tuple[str, str]]:
    """(reason, fix) for everything that is wrong, most urgent first; for `status`."""
    found = classify(machine, declared, minimum_driver)
    out = [*((words, WSL_FIX if machine.wsl else CORRECT) for words in found.missing), *found.lost]
    if found.state not in ("ready", "no_gpu"):
        out.append((f"{found.state}: {found.reason}", found.fix))
    return out


def _loaded(machine: Machine) -> str:
    kind = "open" if machine.open_module else "proprietary"
    return f"driver {machine.module} ({kind}) is loaded" if machine.module else "no NVIDIA driver is loaded"


def _works(machine: Machine, state: State) -> bool:
    return state == "ready" or (state == "next_kernel_broken" and machine.module == machine.library != "")


def _notes(machine: Machine, state: State) -> tuple[str, ...]:
    out = []
    if state == "ready" and machine.following is not None and machine.next_kernel != machine.kernel:
        out.append(f"kernel {machine.next_kernel} waits for the next boot and has its module")
    if machine.boot.other and state != "needs_reboot":  # there it is what an apply stops at
        out.append(f"{machine.boot.other}, no kernel of this machine: it does not come back by itself. {machine.boot.fix}")
    if machine.boot.assumed:
        out.append(f"{machine.boot.assumed}: kernel {machine.next_kernel} is assumed to boot next")
    if machine.passphrases:
        out.append(
            f"the disk {', '.join(machine.passphrases)} asks for a passphrase at boot: a reboot needs a person there"
        )
    if machine.reboot_for:
        what = ", ".join(machine.reboot_for[:5])
        out.append("a reboot is asked for" + ("" if what == "?" else f" by {what}"))
    if state == "ready" and cramped(machine):
        out.append(f"{cramped(machine)}: the next kernel may not fit. {room(machine)}")
    if kernels_listed(machine) and not brings_kernels(machine) and not machine.container:
        out.append("no metapackage of a kernel is installed (linux-image-…): kernel updates do not come by themselves")
    if machine.held:
        out.append(f"on hold: {', '.join(machine.held)}")
    return tuple(out)


_Answer = tuple[State, str, str]


def _driver(machine: Machine, gpus: tuple[Gpu, ...], minimum: int) -> _Answer:
    """State, reason, fix of a machine with cards, most urgent first."""
    if machine.broken_packages:
        return _broken(machine)
    if len(machine.libraries) > 1:
        fix = "keep one: apt purge the packages of the other, or nvidia-uninstall where NVIDIA's .run file put it there"
        return "broken_packages", f"libraries of several drivers are installed: {', '.join(machine.libraries)}", fix
    if not machine.library:
        holder = "; nouveau holds the cards" if machine.nouveau else ""
        return "absent", f"the driver is not installed (no libcuda){holder}", APPLY
    wrong = unfit(machine, gpus, minimum)
    if wrong:
        return "absent", wrong, APPLY
    answer = _not_loaded(machine) if not machine.module else _is_loaded(machine, gpus)
    own, theirs = mixed(machine)
    if own and machine.library not in (machine.module, machine.target.module):
        fix = f"keep one: sudo apt purge {own} (or, to keep these: {theirs}); then ./holdfast up HOST"
        what = f"{own} from the distribution and {theirs} from NVIDIA's repository"
        return "broken_packages", f"the driver is mixed of two sources, {what}; {answer[1]}", fix
    return answer


def _broken(machine: Machine) -> _Answer:
    names = ", ".join(machine.broken_packages[:5])
    f = broken_build(machine)
    if f is not None:
        where = f"for kernel {f.kernel}" if f.kernel else "for a kernel"
        reason = f"half-installed packages: {names}; {f.module} {f.version} does not build {where}: {f.line}"
        return "broken_packages", reason, f"{APPLY}; all of the log: {f.log}"
    reason = joined(f"half-installed packages: {names}", cramped(machine))
    return "broken_packages", reason, joined(room(machine), finish(machine), APPLY)


def _beside(machine: Machine, gpus: tuple[Gpu, ...], minimum: int, reason: str, fix: str) -> tuple[bool, str, str]:
    """(whether the driver works, reason, fix) where what is half-installed is none of the driver's or the kernels'."""
    state, beneath, way = _driver(replace(machine, broken_packages=()), gpus, minimum)
    if not _works(machine, state):
        return False, reason, fix
    names = ", ".join(machine.broken_packages[:5])
    mend = f"on the machine: {finish(machine)} says why; sudo apt-get --fix-broken install"
    what = f"half-installed packages: {names}; none is the driver's, which works, but apt fails until they are set up"
    if state == "ready":
        return True, what, mend
    return True, f"{what}; {beneath}", joined(mend, way)


def _unbuilt(machine: Machine) -> _Answer:
    target = machine.target
    if machine.prebuilt or target.headers:
        failed = machine.failure(target.release)
        reason = lacking(machine) or f"no module for kernel {target.release}: {failed or 'none has been built'}"
        log = f"all of the log: {failed.log}" if failed else ""
        return "next_kernel_broken", reason, joined(unhide(machine, target), APPLY, log)
    reason = f"no module for kernel {target.release}: its headers are not installed, so none was built"
    return "needs_headers", reason, f"sudo apt install linux-headers-{target.release}; {APPLY}"


def _not_loaded(machine: Machine) -> _Answer:
    here, following = machine.running, machine.following
    if machine.nouveau or here.module != machine.library:
        why = (
            "nouveau holds the cards" if machine.nouveau
            else f"kernel {here.release}, which runs, has no module; {machine.next_kernel} has it"
        )  # fmt: skip
        if following is not None and following.module == machine.library:
            if unsigned(machine, following):
                return _key(machine, following)
            if safe(machine):
                return "needs_reboot", why, _REBOOT
            fix = joined(room(machine), f"sudo update-initramfs -c -k {machine.next_kernel}", APPLY)
            return "next_kernel_broken", lacking(machine), fix
        if machine.nouveau and following is None and here.module == machine.library:
            return "needs_reboot", why, _REBOOT
        return _unbuilt(machine)
    if unsigned(machine, here):
        return _key(machine, here)
    return (
        "needs_reload",
        "the driver's module is not loaded; it is there for this kernel",
        f"{APPLY}; sudo modprobe nvidia-uvm",
    )


def _key(machine: Machine, kernel: Kernel) -> _Answer:
    if kernel.signed is False:
        return "needs_key", f"Secure Boot refuses the module for kernel {kernel.release}: it has no signature", enrol(machine)
    known = (
        f"a key that the firmware does not know ({machine.key.file})" if machine.key.file else "no key of this machine"
    )
    return "needs_key", f"Secure Boot refuses the module: it is signed with {known}", enrol(machine)


def _is_loaded(machine: Machine, gpus: tuple[Gpu, ...]) -> _Answer:
    if machine.module != machine.library:
        what = f"module {machine.module} is loaded, the libraries are {machine.library}"
        if machine.container:
            return "needs_reboot", f"{what}; the module is that of the machine around this container", HOST
        why = reloadable(machine)
        if not why:
            return "needs_reload", what, _RESTART
        if safe(machine) or (machine.following is None and machine.running.module == machine.library):
            return "needs_reboot", f"{what}; {why}", _REBOOT
        target = machine.target
        if target.module == machine.library and unsigned(machine, target):
            return _key(machine, target)
        return "next_kernel_broken", f"{what}; {lacking(machine) or why}", joined(unhide(machine, target), APPLY)
    if machine.nouveau and any(gpu.driver == "nouveau" for gpu in machine.gpus):
        return "needs_reboot", "nouveau holds a card beside the driver", _REBOOT
    wrong = next(filter(None, (misfit(gpu, machine.kind_loaded) for gpu in gpus)), "")
    if wrong and machine.uvm:
        why = reloadable(machine)
        what = joined(f"{wrong}; they are loaded, and the {machine.kind} ones are installed", why)
        return ("needs_reboot" if why else "needs_reload"), what, _RESTART
    if not machine.uvm and machine.running.module != machine.library and machine.following is not None:
        return _not_loaded(machine)  # its file is gone from the running kernel's modules: nothing there to load
    if not machine.uvm:
        return "needs_reload", "nvidia-uvm is not loaded", f"{APPLY}; sudo modprobe nvidia-uvm"
    broken = lacking(machine)
    if not broken and (broken := refused(machine)):
        return "next_kernel_broken", broken, enrol(machine)
    if broken:
        fix = joined(room(machine), unhide(machine, machine.target), APPLY)
        return "next_kernel_broken", f"the driver works now; {broken}", fix
    return "ready", f"driver {machine.module} is loaded and matches", ""
