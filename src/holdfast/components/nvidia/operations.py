"""Says what cards and driver there are, and refuses to go on where GPUs are required and are missing or cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.nvidia.classify import Finding, classify
from holdfast.components.nvidia.facts import Cards, NvidiaCards, NvidiaState
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import fail, stop


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
        yield from stop(refusal(finding))
        return
    host.noop("; ".join([finding.words, *(finding.problems if finding.state != "no_gpu" else ())]))
