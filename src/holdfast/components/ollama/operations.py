"""What must be true of the machine before anything is changed on it."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.nvidia.facts import Cards, NvidiaCards
from holdfast.depot.record import BUILT
from holdfast.errors import HoldfastError
from holdfast.operations.failing import stop


@operation()
def require_cuda(origin: str) -> Iterator[FunctionCommand]:
    """Stops here when Ollama as it would be installed cannot use the machine's cards.

    `origin`: where that Ollama comes from ("release", "built here", or empty while that is not known).
    """
    problem = obstacle(host.get_fact(NvidiaCards)) if origin == BUILT else None
    if problem is None:
        host.noop("this Ollama can use what the machine has")
        return
    yield from stop(problem)


def obstacle(cards: Cards) -> HoldfastError | None:
    """The reason not to install an Ollama that was built here, if there is one; pure."""
    if not cards.addresses:
        return None
    there = ", ".join(cards.addresses)
    return HoldfastError(
        f"the Ollama in this depot was built here, without CUDA; the machine has NVIDIA cards ({there})",
        where="depot", allowed="Ollama's official release",
        fix="./holdfast depot update ollama, then ./holdfast depot fetch ollama with a network that reaches the release",
    )  # fmt: skip
