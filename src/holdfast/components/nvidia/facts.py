"""What the machine has of NVIDIA: its cards before python3 is there (NvidiaCards), and then everything (NvidiaState).

A container sees its host's whole /sys, cards that it cannot use included; its own devices are in /dev. Both readers here
count a card only where it can be used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase

from holdfast.components.nvidia.machine import Machine, parse
from holdfast.components.nvidia.reader import read_machine
from holdfast.components.nvidia.recording import checked
from holdfast.operations.remote import PythonFact

_READ = """
for d in /sys/bus/pci/devices/*; do
  [ "$(cat "$d/vendor" 2>/dev/null)" = 0x10de ] || continue
  driver=$(readlink "$d/driver") || driver=
  echo "card ${d##*/} $(cat "$d/class") ${driver##*/}"
done
for f in /run/systemd/container /.dockerenv /run/.containerenv; do [ -e "$f" ] && echo container; done
[ -e /dev/nvidiactl ] && echo control
grep -qi microsoft /proc/sys/kernel/osrelease && echo wsl
echo end
"""


@dataclass(frozen=True)
class Cards:
    """PCI addresses ("0000:01:00.0") of NVIDIA's display devices that this machine may use; ``wsl``: Windows has them;
    ``handed``: those that are there, and a virtual machine has."""

    addresses: tuple[str, ...]
    wsl: bool = False
    handed: tuple[str, ...] = ()


class NvidiaCards(FactBase[Cards]):
    """One round trip, POSIX sh: also before there is a driver, or python3."""

    def command(self) -> str:
        return _READ

    def process(self, output: list[str]) -> Cards:
        lines = [line.split() for line in output]
        # Class 03xxxx is a display; a card's sound device has the same vendor.
        cards = sorted(parts[1:] for parts in lines if parts[:1] == ["card"] and parts[2].startswith("0x03"))
        if ["container"] in lines and ["control"] not in lines:
            return Cards(())
        given = [address for address, _, *driver in cards if driver == ["vfio-pci"]]
        own = [address for address, *_ in cards if address not in given]
        # Some clouds name their own kernels so, too; there the cards are real.
        return Cards(tuple(own), ["wsl"] in lines and not cards, tuple(given))

    @staticmethod
    def default() -> Cards:
        return Cards(())


_KEPT = "holdfast-nvidia"
LATER = "known once base has installed python3"
"""What a plan says where NvidiaState.machine is None."""


class NvidiaState(PythonFact):
    """The machine's cards and driver; see reader.read_machine. Its value, through ``machine``, is a Machine."""

    reader = staticmethod(read_machine)

    @classmethod
    def machine(cls, host: Any) -> Machine | None:
        """None on a machine without python3, of which nothing is known yet."""
        found = cls.read(host, root="/")
        machine = None if found is None else parse(found)
        host.connector_data[_KEPT] = machine
        return machine

    @classmethod
    def recent(cls, host: Any) -> Machine | None:
        """As it was at the last look of this run, for whom nothing has changed since: no further round trip."""
        kept: Machine | None = host.connector_data.get(_KEPT)
        return kept or cls.machine(host)

    @classmethod
    def forget(cls, host: Any) -> None:
        """The next one looks again."""
        host.connector_data.pop(_KEPT, None)


def from_json(recorded: str | Mapping[str, Any]) -> Machine:
    """The machine of which ``recorded`` was read: what read_machine returned, or its JSON text. Raises ValueError."""
    found = json.loads(recorded) if isinstance(recorded, str) else recorded
    return parse(checked(found))


__all__ = ["Cards", "NvidiaCards", "NvidiaState", "from_json", "read_machine"]
