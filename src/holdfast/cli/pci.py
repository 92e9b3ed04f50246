"""NVIDIA cards by what the PCI bus says, read as the apply reads them: known before any driver, and before python3."""

from __future__ import annotations

from holdfast.cli import remote
from holdfast.errors import HoldfastError
from holdfast.proc import run
from holdfast.settings.workstation import Workstation


def read_cards(ws: Workstation | None = None) -> list[str]:
    """PCI addresses of NVIDIA's display controllers in the machine (None: this computer) that can be used there."""
    # Late: it brings pyinfra along.
    from holdfast.components.nvidia.facts import NvidiaCards

    fact, shell = NvidiaCards(), ["sh", "-s"]
    script = fact.command()
    said = (run(shell, input=script) if ws is None else remote.run(ws, shell, input=script)).stdout.splitlines()
    if "end" not in said:
        name = ws.name if ws else "this computer"
        raise HoldfastError(f"{name} did not say what is on its PCI bus", fix="run it again; is there a shell for this user?")
    return list(fact.process(said).addresses)


def has_nvidia() -> bool:
    """Whether this computer has an NVIDIA card that it can use."""
    return bool(read_cards())
