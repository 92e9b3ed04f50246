"""One sabotage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sabotage:
    """What somebody, or something, does to the machine.

    ``script``: POSIX sh, run as root on the machine, with ``set -eu``. ``reddens``: check -> words that its failure must
    contain, so that it is red for this and no other reason. ``batch``: sabotages of one batch do not disturb one another.
    """

    name: str
    batch: int
    script: str
    reddens: dict[str, str]
    restarts: tuple[str, ...] = ()
