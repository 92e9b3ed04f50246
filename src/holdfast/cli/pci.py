"""NVIDIA cards by what the PCI bus says, read as the apply reads them: known before any driver, and before python3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli import remote
from holdfast.errors import HoldfastError
from holdfast.proc import run
from holdfast.settings.workstation import Workstation

if TYPE_CHECKING:
    from holdfast.components.nvidia.slots import Slots


def read_cards(ws: Workstation | None = None) -> list[str]:
    """PCI addresses of NVIDIA's display controllers in the machine (None: this computer) that can be used there."""
    # Late: it brings pyinfra along.
    from holdfast.components.nvidia.facts import NvidiaCards

    fact = NvidiaCards()
    said = _said(ws, fact.command())
    if "end" not in said:
        raise _nothing_said(ws)
    return list(fact.process(said).addresses)


def read_slots(ws: Workstation | None = None) -> Slots:
    """The same cards with their kinds, links and displays, and who logs in there: one round trip."""
    from holdfast.components.nvidia.slots import NvidiaSlots

    fact = NvidiaSlots()
    found = fact.process(_said(ws, fact.command()))
    if not found.complete:
        raise _nothing_said(ws)
    return found


def _said(ws: Workstation | None, script: str) -> list[str]:
    shell = ["sh", "-s"]
    return (run(shell, input=script) if ws is None else remote.run(ws, shell, input=script)).stdout.splitlines()


def _nothing_said(ws: Workstation | None) -> HoldfastError:
    name = ws.name if ws else "this computer"
    return HoldfastError(
        f"{name} did not say what is on its PCI bus", fix="run it again; is there a shell for this user?"
    )


def has_nvidia() -> bool:
    """Whether this computer has an NVIDIA card that it can use."""
    return bool(read_cards())
