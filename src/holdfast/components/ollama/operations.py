"""What must be true of the machine before anything is changed on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.ollama.facts import Cards, NvidiaCards
from holdfast.errors import HoldfastError
from holdfast.operations.failing import fail


@operation()
def require_devices(gpus: Mapping[str, str], required: bool, origin: str) -> Iterator[FunctionCommand]:
    """Stops here when a declared card is missing, or when Ollama as it would be installed cannot use the cards.

    `gpus`: name -> PCI address of the cards that instances use; `required`: the setting require_gpu; `origin`: where the
    Ollama comes from ("release", "built here", or empty while that is not known).
    """
    problem = obstacle(host.get_fact(NvidiaCards), gpus, required, origin)
    if problem is None:
        host.noop("the machine has what the settings need")
        return
    yield fail(problem)


def obstacle(cards: Cards, gpus: Mapping[str, str], required: bool, origin: str) -> HoldfastError | None:
    """The reason not to begin, if there is one; pure."""
    missing = [f"{name} ({address})" for name, address in gpus.items() if address not in cards.addresses]
    there = ", ".join(cards.addresses) or "none"
    if required and not gpus:
        return HoldfastError(
            "require_gpu is true, but no instance names a GPU", where="instances.*.gpus", allowed=f"on the machine: {there}",
            fix="name the cards (gpus, instances.ROLE.gpus), or set require_gpu: false for the CPU",
        )  # fmt: skip
    if required and missing:
        return HoldfastError(
            f"no NVIDIA device at {', '.join(missing)}", where="gpus", allowed=f"on the machine: {there}",
            fix="correct gpus in hosts.yml (lspci -D | grep -i nvidia), or set require_gpu: false for the CPU",
        )  # fmt: skip
    if origin == "built here" and cards.addresses:
        return HoldfastError(
            f"the Ollama in this depot was built here, without CUDA; the machine has NVIDIA cards ({there})",
            where="depot", allowed="Ollama's official release",
            fix="./holdfast depot update ollama, then ./holdfast depot fetch ollama with a network that reaches the release",
        )  # fmt: skip
    return None
