"""The look before anything is changed: are the cards there that the settings need?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.nvidia.absence import CORRECT, HANDED, TAKE_BACK, WSL, WSL_FIX
from holdfast.components.nvidia.facts import Cards, NvidiaCards
from holdfast.errors import HoldfastError
from holdfast.operations.failing import stop


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
    if away := [name for name, address in gpus.items() if address in cards.handed]:
        named = ", ".join(f"{name} ({gpus[name]})" for name in away)
        return HoldfastError(
            f"{named} is {HANDED}", where="gpus", allowed=f"on the machine: {there}", fix=TAKE_BACK,
        )  # fmt: skip
    if missing:
        return HoldfastError(
            f"no NVIDIA device at {', '.join(missing)}", where="gpus", allowed=f"on the machine: {there}",
            fix=f"{CORRECT}; or set require_gpu: false for the CPU",
        )  # fmt: skip
    return None
