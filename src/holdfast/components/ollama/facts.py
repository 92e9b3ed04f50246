"""The NVIDIA cards that the machine shows on its PCI bus: before any driver, before python3."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import FactBase

# A container sees its host's whole /sys, cards that it cannot use included; its own devices are in /dev.
_READ = """
for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] && [ "$(cat "$d/vendor")" = 0x10de ] && echo "card ${d##*/} $(cat "$d/class")"
done
[ -e /run/systemd/container ] && echo container
[ -e /dev/nvidiactl ] && echo control
echo end
"""


@dataclass(frozen=True)
class Cards:
    """PCI addresses ("0000:01:00.0") of NVIDIA's display devices that this machine may use."""

    addresses: tuple[str, ...]


class NvidiaCards(FactBase[Cards]):
    """One round trip, POSIX sh."""

    def command(self) -> str:
        return _READ

    def process(self, output: list[str]) -> Cards:
        lines = [line.split() for line in output]
        # Class 03xxxx is a display; a card's sound device has the same vendor.
        cards = [parts[1] for parts in lines if parts[:1] == ["card"] and parts[2].startswith("0x03")]
        foreign = ["container"] in lines and ["control"] not in lines
        return Cards(() if foreign else tuple(sorted(cards)))

    @staticmethod
    def default() -> Cards:
        return Cards(())
