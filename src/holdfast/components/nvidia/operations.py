"""The operations that bring a driver there: one installs it, one brings it into use, with a reboot where nothing less does.

Each looks, takes the next step that `installing` or `steps` names, and looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.nvidia import activity, commands, sources, together
from holdfast.components.nvidia.activity import Activity
from holdfast.components.nvidia.facts import LATER, NvidiaCards, NvidiaState
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Machine
from holdfast.components.nvidia.outlook import outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.repository import AptSources, Keyring, keyring
from holdfast.components.nvidia.steps import (
    Build,
    Image,
    Install,
    Load,
    Reboot,
    Reload,
    Repair,
    Step,
    Stop,
    Taken,
    ends,
    look,
    to_use,
    without_cuda_13,
)
from holdfast.errors import HoldfastError
from holdfast.operations import reboot
from holdfast.operations.events import emit
from holdfast.operations.failing import report, stop
from holdfast.operations.packages import AptLock, wait_for_apt
from holdfast.operations.place import Paths, differing, writing
from holdfast.operations.remote import program, python_command, without_python
from holdfast.operations.running import run

# More than any way through the states has steps; a guard against a machine that answers differently each time.
ROUNDS = 12
_PAUSE_S = 1.0


@operation()
def drivable(want: Want) -> Iterator[FunctionCommand]:
    """Comes before anything is changed: is there a driver for these cards, from one source, on this distribution?"""
    machine = NvidiaState.machine(host)
    step = (without_cuda_13(machine, want) or to_install(machine, want, ())) if machine else None
    if not isinstance(step, Stop) or not want.required:
        host.noop(LATER if machine is None else look(machine, want).words)
        return
    yield from stop(step.error(host.name))


@operation()
def driver(want: Want, lock_wait_s: int) -> Iterator[FunctionCommand | StringCommand]:
    """The driver's packages are installed, whole, and have built modules for the kernel that boots next."""
    machine = NvidiaState.recent(host)
    if machine is None:
        yield from _unknown("the driver")
        return
    step = to_install(machine, want, ())
    if not host.state.is_executing:
        _tell_plan(machine, want, step)
    if step is None:
        host.noop(f"nvidia: {look(machine, want).words}")
        return
    if isinstance(step, Stop):
        yield from _stopping(step, want)
        return
    yield FunctionCommand(_walk, (want, to_install, lock_wait_s, 0.0), {})


@operation()
def in_use(
    want: Want, lock_wait_s: int, idle_wait_s: float, reboot_timeout_s: float
) -> Iterator[FunctionCommand | StringCommand]:
    """The installed driver is loaded and serves. At most one reboot, announced; what computes is waited for
    ``idle_wait_s`` seconds, the machine ``reboot_timeout_s``."""
    machine = NvidiaState.recent(host)
    if machine is None:
        yield from _unknown("the driver's modules")
        return
    want = _from_here(machine, want)
    step = to_use(machine, want, ())
    first = None if host.state.is_executing else to_install(machine, want, ())
    coming = first is not None and not isinstance(first, Stop)
    if step is None and not coming:
        host.noop(f"nvidia: {look(machine, want).words}")
        return
    if isinstance(step, Stop) and not coming:
        yield from _stopping(step, want)
        return

    def next_step(now: Machine, wanted: Want, taken: Taken) -> Step | None:
        return _when_idle(now, wanted, taken, idle_wait_s)

    yield FunctionCommand(_walk, (want, next_step, lock_wait_s, reboot_timeout_s), {})


def _unknown(what: str) -> Iterator[FunctionCommand | StringCommand]:
    """A machine without python3: for a plan a change to come, where there are cards; later than that, base has failed."""
    if host.state.is_executing:
        yield without_python(host)
    elif host.get_fact(NvidiaCards).addresses:
        emit("note", host=host.name, message=f"nvidia: {what}: {LATER}")
        yield StringCommand("true")
    else:
        host.noop("no NVIDIA GPU")


def _from_here(machine: Machine, want: Want) -> Want:
    """Also an address that leads back to this computer is this computer: one kernel has one boot id."""
    try:
        own = Path(reboot.BOOT_ID).read_text().strip()
    except OSError:
        return want
    return replace(want, here=want.here or machine.boot_id == own)


def _tell_plan(machine: Machine, want: Want, step: Step | None) -> None:
    found, want = look(machine, want), _from_here(machine, want)
    if found.state == "no_gpu":
        return
    if step is not None and not isinstance(step, Stop):
        emit("note", host=host.name, message=f"nvidia: {_announced(step)}")
    if isinstance(step, Install):
        emit(
            "note",
            host=host.name,
            message=f"nvidia: one set, to be kept together: {together.kept_as(step.choice, machine)}",
        )
    if machine.secure_boot and isinstance(step, Install) and not step.choice.prebuilt and not machine.key.enrolled:
        message = "nvidia: Secure Boot is on: a person must let the modules' key in once, at the machine's own screen"
        emit("note", host=host.name, message=message)
    emit("note", host=host.name, message=f"nvidia: {outlook(machine, want)}")


def _announced(step: Step) -> str:
    kind = type(step).__name__.lower()
    if isinstance(step, Install):
        gone = f", in place of {', '.join(step.remove)}" if step.remove else ""
        return f"install {step.choice}: {', '.join(step.packages)}{gone} ({step.why})"
    return f"{kind}: {step.why}"


def _stopping(step: Stop, want: Want) -> Iterator[FunctionCommand]:
    """The end, or in a plan its announcement; a note where the apply goes on."""
    error = step.error(host.name)
    if ends(step, want):
        yield from stop(error)
        return
    _note(host, error)
    host.noop(error.message)


def _note(host: Any, error: HoldfastError) -> None:
    emit("note", host=host.name, message=f"nvidia: {error.message}. Fix: {error.fix}")


def _when_idle(machine: Machine, want: Want, taken: Taken, patience_s: float) -> Step | None:
    """The next step; where it would cut off what computes, that is waited for."""
    start = time.monotonic()
    while True:
        step = to_use(machine, want, taken)
        if not isinstance(step, Load | Reload | Reboot):
            return step
        apt = AptLock.read(host)
        computing = Activity.read(host, root="/", pause_s=_PAUSE_S, others=activity.strangers(machine)) or []
        busy = activity.words([*computing, *([f"packages are being installed by {apt}"] if apt else [])], machine)
        spent = time.monotonic() - start
        if not busy or want.reboot == "always" or spent >= patience_s:
            return to_use(machine, want, taken, busy)
        emit("waiting", host=host.name, what=f"idle cards: {busy}", seconds=round(spent, 1))
        time.sleep(2)


def _walk(
    state: Any,
    host: Any,
    want: Want,
    decide: Callable[[Machine, Want, Taken], Step | None],
    lock_wait_s: int,
    timeout_s: float,
) -> bool:
    """Take steps until there is none left; False, with the reason reported, where it ends before."""
    taken: Taken = ()
    said = ""
    for _ in range(ROUNDS):
        machine = NvidiaState.machine(host)
        if machine is None:
            break
        step = decide(machine, want, taken)
        if isinstance(step, Repair | Install | Build | Image) and AptLock.read(host):
            # In the middle of another's work packages are half-installed, and that is no damage: look again after it.
            if not wait_for_apt(state, host, lock_wait_s):
                return False
            machine = NvidiaState.machine(host) or machine
            step = decide(machine, want, taken)
        if step is None:
            return True
        if isinstance(step, Stop):
            error = replace(step, why=f"{step.why}\n  {said}" if said else step.why).error(host.name)
            if ends(step, want):
                report(host, error)
                return False
            _note(host, error)
            return True
        emit("note", host=host.name, message=f"nvidia: {_announced(step)}")
        if isinstance(step, Reboot):
            NvidiaState.forget(host)
            return reboot.perform(state, host, timeout_s)
        try:
            said = _take(state, host, machine, step, lock_wait_s)
        except HoldfastError as error:
            report(host, error)
            return False
        taken = (*taken, step)
    report(
        host,
        HoldfastError(
            "the driver does not come to rest", where=host.name, fix="./holdfast status says in which state it is"
        ),
    )
    return False


def _take(state: Any, host: Any, machine: Machine, step: Step, lock_wait_s: int) -> str:
    """Take one step. What a failed command said; "" when it went well. Whether it helped, the next look tells."""
    if isinstance(step, Install):
        said = _sources(state, host, machine, step)
        if said:
            return said
    return _run(state, host, StringCommand(commands.line(step, lock_wait_s)), _announced(step).split(" (")[0])


def _sources(state: Any, host: Any, machine: Machine, step: Install) -> str:
    """apt knows where the packages are: key, pin and source, in this order."""
    entries = sources.files(AptSources.read(host, folder="/etc/apt"), machine, step.choice)
    vendor = step.choice.vendor
    if vendor:
        key = sources.KEYS[vendor]
        if not Keyring.read(host, path=sources.KEYRING, url="", fingerprint=key.fingerprint):
            url = sources.uri(vendor) + key.file
            source = program(keyring, path=sources.KEYRING, url=url, fingerprint=key.fingerprint)
            said = _run(state, host, python_command(source), "NVIDIA's key")
            if said:
                return said
    changed = differing(entries, Paths.read(host, paths=sources.paths(entries), contents=[]))
    return _run(state, host, writing(changed), "apt's sources") if changed else ""


def _run(state: Any, host: Any, command: StringCommand, what: str) -> str:
    telling = gevent.spawn(_tell_time, host.name, what)
    try:
        ok, said = run(state, host, command)
    finally:
        telling.kill()
    return "" if ok else "\n  ".join(said) or f"{what} failed and said nothing"


def _tell_time(name: str, what: str) -> None:
    """A build takes minutes and says nothing meanwhile."""
    start = time.monotonic()
    while True:
        gevent.sleep(2)
        emit("waiting", host=name, what=what[:100], seconds=round(time.monotonic() - start, 1))
