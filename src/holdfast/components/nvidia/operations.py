"""The driver's operation: says what is there, and refuses to go on where GPUs are required and cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.nvidia.classify import Finding, classify
from holdfast.components.nvidia.facts import NvidiaState
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import fail


def refusal(finding: Finding) -> HoldfastError:
    """The error for a machine whose cards are required and cannot be used."""
    return HoldfastError(
        f"GPUs are required (require_gpu: true) and cannot be used: {'; '.join(finding.problems)}",
        where=finding.words, fix=finding.fix,
    )  # fmt: skip


@operation()
def usable(gpus: Mapping[str, str], required: bool, minimum_driver: int) -> Iterator[FunctionCommand]:
    """The declared cards (``gpus``: name -> PCI address) are there with a driver that Ollama takes; changes nothing."""
    machine = NvidiaState.machine(host)
    if machine is None:
        if not host.state.is_executing:
            host.noop("known once base has installed python3")
            return
        yield fail(
            HoldfastError("python3 is missing on the machine", where=host.name, fix="apply again: base installs it")
        )
        return
    finding = classify(machine, gpus, minimum_driver)
    emit("note", host=host.name, message=f"nvidia: {finding.words}")
    if required and not finding.usable:
        yield fail(refusal(finding))
        return
    host.noop("; ".join([finding.words, *(finding.problems if finding.state != "no_gpu" else ())]))
