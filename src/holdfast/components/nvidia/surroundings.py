"""What surrounds the driver: the look before anything is changed, its settings, its daemon, and the verdict at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.nvidia.checks import usable_gpus
from holdfast.components.nvidia.classify import WSL, WSL_FIX, Finding
from holdfast.components.nvidia.facts import LATER, Cards, NvidiaCards, NvidiaState
from holdfast.components.nvidia.files import PERSISTENCE
from holdfast.components.nvidia.installing import by_hand
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import in_vain, look
from holdfast.errors import HoldfastError
from holdfast.operations import reboot
from holdfast.operations.events import emit
from holdfast.operations.failing import stop
from holdfast.operations.place import Entry, Paths, differing, writing
from holdfast.operations.remote import without_python
from holdfast.operations.unit import UnitState, steps, systemctl

_LOADING_S = 60.0


@operation()
def require_devices(gpus: Mapping[str, str], required: bool) -> Iterator[FunctionCommand]:
    """Stops here when a card that is needed is not there.

    `gpus`: name -> PCI address of the cards that instances use; `required`: the setting require_gpu.
    """
    problem = obstacle(host.get_fact(NvidiaCards), gpus) if required else None
    if problem is None:
        host.noop("the machine has what the settings need")
        return
    yield from stop(problem)


def obstacle(cards: Cards, gpus: Mapping[str, str]) -> HoldfastError | None:
    """The reason not to begin where GPUs are required, if there is one; pure."""
    missing = [f"{name} ({address})" for name, address in gpus.items() if address not in cards.addresses]
    there = ", ".join(cards.addresses) or "none"
    if not gpus:
        return HoldfastError(
            "require_gpu is true, but no instance names a GPU", where="instances.*.gpus", allowed=f"on the machine: {there}",
            fix="name the cards (gpus, instances.ROLE.gpus), or set require_gpu: false for the CPU",
        )  # fmt: skip
    if missing and cards.wsl:
        return HoldfastError(f"this is WSL: {WSL}", where="gpus", allowed="a computer that runs Linux itself", fix=WSL_FIX)
    if missing:
        return HoldfastError(
            f"no NVIDIA device at {', '.join(missing)}", where="gpus", allowed=f"on the machine: {there}",
            fix="correct gpus in hosts.yml (lspci -D | grep -i nvidia), or set require_gpu: false for the CPU",
        )  # fmt: skip
    return None


def refusal(finding: Finding) -> HoldfastError:
    """The error for a machine whose cards are required and cannot be used."""
    return HoldfastError(
        f"GPUs are required (require_gpu: true) and cannot be used: {'; '.join(finding.problems)}",
        where=finding.words, fix=finding.fix,
    )  # fmt: skip


@operation()
def settings(entries: Sequence[Entry], source: str) -> Iterator[StringCommand]:
    """Write ``entries`` on a machine with cards and a driver, present or to come (``source``: the setting nvidia.source)."""
    machine = NvidiaState.recent(host)
    if machine is None:
        if not host.state.is_executing and host.get_fact(NvidiaCards).addresses:
            yield StringCommand("true")
        return
    if not usable_gpus(machine) or (source == "none" and not machine.library):
        host.noop("no NVIDIA GPU" if not machine.gpus else "no driver, and none is to be installed")
        return
    changed = differing(entries, Paths.read(host, paths=[e.path for e in entries], contents=[]))
    if not changed:
        host.noop(f"{len(entries)} paths are as they should be")
        return
    yield writing(changed)


@operation()
def persistence(config: str) -> Iterator[StringCommand]:
    """nvidia-persistenced runs with our settings (``config``: their hash) wherever a driver is loaded and has it."""
    machine = NvidiaState.recent(host)
    state = UnitState.read(host, unit=PERSISTENCE) if machine and machine.module and machine.gpus else None
    if not state or state.get("LoadState") != "loaded":
        host.noop("no driver is loaded, or it came without nvidia-persistenced")
        return
    # Pulled in by the servers, or by udev: Ubuntu's unit cannot be enabled.
    enabled = state.get("UnitFileState") in ("enabled", "disabled")
    todo = steps(state, config=config, enabled=enabled, running=True)
    if not todo:
        host.noop("nvidia-persistenced is as it should be")
        return
    yield systemctl(PERSISTENCE, todo)


@operation()
def usable(want: Want) -> Iterator[FunctionCommand]:
    """The cards in use are there with a driver that Ollama takes; changes nothing."""
    machine = NvidiaState.recent(host)
    if machine is None:
        if not host.state.is_executing:
            host.noop(LATER)
            return
        yield without_python(host)
        return
    finding = look(machine, want)
    if host.state.is_executing:
        finding = _awaited(finding, want)
    emit("note", host=host.name, message="; ".join([f"nvidia: {finding.words}", *_worth_saying(finding, by_hand(machine, want))]))
    # In a plan the operations before this one have told it.
    if want.required and not finding.usable and host.state.is_executing:
        vain = finding.state == "needs_reboot" and reboot.done(host)
        yield from stop(in_vain(finding.reason).error(host.name) if vain else refusal(finding))
        return
    host.noop("; ".join([finding.words, *(finding.problems if finding.state != "no_gpu" else ())]))


def _worth_saying(finding: Finding, by_hand: str) -> list[str]:
    broken = [f"but {finding.reason}. Fix: {by_hand or finding.fix}"] if finding.works and finding.state != "ready" else []
    return [*broken, *finding.notes]


def _awaited(finding: Finding, want: Want) -> Finding:
    """After a boot the modules may take a moment: looks again for as long as they are on their way."""
    start = time.monotonic()
    while finding.state == "needs_reload" and (spent := time.monotonic() - start) < _LOADING_S:
        emit("waiting", host=host.name, what="the NVIDIA modules", seconds=round(spent, 1))
        time.sleep(2)
        machine = NvidiaState.machine(host)
        finding = look(machine, want) if machine else finding
    return finding
