"""NVIDIA cards in their slots: kind, link, display, by what the PCI bus and sysfs say. Before any driver, and before python3."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from pyinfra.api import FactBase

from holdfast.fit.slot import Slot

# `$d` is a link into the tree of devices, and what is above its target is the port that it sits in.
# https://docs.kernel.org/PCI/sysfs-pci.html; connectors: /sys/class/drm/cardN-NAME/status.
_READ = """
root=%s
value() { [ -r "$2" ] && read -r said <"$2" && echo "$1 $said"; }
for d in "$root"/sys/bus/pci/devices/*; do
  [ "$(cat "$d/vendor" 2>/dev/null)" = 0x10de ] || continue
  case "$(cat "$d/class")" in 0x03*) ;; *) continue ;; esac
  echo "card ${d##*/}"
  driver=$(readlink "$d/driver") && echo "driver ${driver##*/}"
  for f in device boot_vga current_link_width max_link_width max_link_speed numa_node; do value "$f" "$d/$f"; done
  for f in max_link_width max_link_speed; do value "port_$f" "$d/../$f"; done
  for c in "$d"/drm/card*/card*-*/status; do value connector "$c"; done
done
for f in run/systemd/container .dockerenv run/.containerenv; do [ -e "$root/$f" ] && echo container; done
[ -e "$root/dev/nvidiactl" ] && echo control
echo "user $(id -un)"
echo end
"""
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


@dataclass(frozen=True)
class Slots:
    """The cards that this machine may use, in the bus's order, and who logged in; ``complete``: the reader came to its end."""

    slots: tuple[Slot, ...] = ()
    user: str = ""
    complete: bool = False


class NvidiaSlots(FactBase[Slots]):
    """One round trip, POSIX sh. ``root``: a folder that looks like a machine."""

    def command(self, root: str = "") -> str:
        return _READ % shlex.quote(root)

    def process(self, output: list[str]) -> Slots:
        cards: list[dict[str, list[str]]] = []
        other: dict[str, str] = {}
        for line in output:
            key, _, value = line.strip().partition(" ")
            if key == "card":
                cards.append({"address": [value]} if _ADDRESS.fullmatch(value) else {})
            elif cards and key not in ("container", "control", "user", "end"):
                cards[-1].setdefault(key, []).append(value.strip())
            else:
                other[key] = value
        # A container sees its host's whole /sys, cards that it cannot use included; its own devices are in /dev.
        foreign = "container" in other and "control" not in other
        found = (
            ()
            if foreign
            else tuple(
                sorted(map(_slot, (card for card in cards if card.get("address"))), key=lambda slot: slot.address)
            )
        )
        return Slots(found, other.get("user", ""), "end" in other)

    @staticmethod
    def default() -> Slots:
        return Slots()


def _slot(read: dict[str, list[str]]) -> Slot:
    def one(key: str) -> str:
        return read.get(key, [""])[0]

    monitors = read.get("connector")
    device = one("device").lower().removeprefix("0x")
    return Slot(
        address=one("address"), device=device if re.fullmatch(r"[0-9a-f]{4}", device) else "", driver=one("driver"),
        # What the slot cannot, the card does not get.
        speed=_least(_number(one("max_link_speed")), _number(one("port_max_link_speed"))),
        width=int(_least(_lanes(one("max_link_width")), _lanes(one("port_max_link_width")))),
        width_now=int(_lanes(one("current_link_width"))),
        monitor=None if monitors is None else "connected" in monitors,
        boot_vga=one("boot_vga") == "1",
        node=int(one("numa_node")) if re.fullmatch(r"\d{1,4}", one("numa_node")) else -1,
    )  # fmt: skip


def _number(text: str) -> float:
    """``16.0 GT/s PCIe`` (older kernels: ``8 GT/s``; ``Unknown`` where the link is down)."""
    found = re.match(r"(\d{1,3}(?:\.\d)?)\s*GT/s", text)
    return float(found[1]) if found else 0.0


def _lanes(text: str) -> float:
    # 255: the kernel could not read it.
    return float(text) if re.fullmatch(r"\d{1,2}", text) else 0.0


def _least(*values: float) -> float:
    return min((value for value in values if value), default=0.0)
