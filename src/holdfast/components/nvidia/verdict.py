"""The verdict at the end of an apply: can the declared cards be used?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.nvidia.classify import Finding, addressed
from holdfast.components.nvidia.facts import LATER, NvidiaState
from holdfast.components.nvidia.installing import by_hand
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Stop, look
from holdfast.errors import HoldfastError
from holdfast.operations import reboot
from holdfast.operations.events import emit
from holdfast.operations.failing import stop
from holdfast.operations.remote import without_python

_LOADING_S = 60.0


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
    said = [f"nvidia: {finding.words}", *_worth_saying(finding, by_hand(machine, want), host.name)]
    emit("note", host=host.name, message="; ".join(said))
    # In a plan the operations before this one have told it.
    if want.required and not finding.usable and host.state.is_executing:
        vain = finding.state == "needs_reboot" and reboot.done(host)
        yield from stop(_in_vain(finding.reason).error(host.name) if vain else refusal(finding, host.name))
        return
    host.noop("; ".join([finding.words, *(finding.problems if finding.state != "no_gpu" else ())]))


def _in_vain(why: str) -> Stop:
    """The end where a reboot has not helped: another one would not."""
    fix = "on the machine: sudo dmesg | grep -iE 'nvidia|nouveau|NVRM' | tail says what the kernel thinks"
    return Stop("needs_reboot", f"the machine was rebooted, and still: {why}", fix)


def _worth_saying(finding: Finding, alone: str, name: str) -> list[str]:
    """``alone``: the way out where `up` leaves this driver to its owner."""
    fix = addressed(alone or finding.fix, name)
    broken = [f"but {finding.reason}. Fix: {fix}"] if finding.works and finding.state != "ready" else []
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


def refusal(finding: Finding, name: str) -> HoldfastError:
    """The error for a machine whose cards are required and cannot be used."""
    return HoldfastError(
        f"GPUs are required (require_gpu: true) and cannot be used: {'; '.join(finding.problems)}",
        where=finding.words, fix=addressed(finding.fix, name),
    )  # fmt: skip
