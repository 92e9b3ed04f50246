"""A card where it sits: what the PCI bus and sysfs say of it before there is a driver."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.fit.cards import Card

# GT/s of a lane -> generation, and GB/s of one lane in one direction after the line code (8b/10b, from 3.0 on 128b/130b).
GENERATIONS = {
    2.5: ("1.0", 0.25), 5.0: ("2.0", 0.5), 8.0: ("3.0", 0.985), 16.0: ("4.0", 1.969), 32.0: ("5.0", 3.938),
    64.0: ("6.0", 7.563),
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """``address``: "0000:01:00.0"; ``device``: "2204"; ``driver``: the kernel driver that holds it, "" for none.

    ``speed`` in GT/s and ``width`` in lanes: the most that both card and slot can do (an idle link trains down, so what it runs
    at now says little); ``width_now``: what it runs at. 0: not known. ``monitor``: whether one is connected; None where no
    driver says so. ``boot_vga``: the firmware put its screen there. ``node``: NUMA node, -1 for none.
    """

    address: str
    device: str
    driver: str = ""
    speed: float = 0.0
    width: int = 0
    width_now: int = 0
    monitor: bool | None = None
    boot_vga: bool = False
    node: int = -1

    @property
    def display(self) -> bool:
        """Whether a screen is to be counted on; where no driver knows of monitors, the firmware's screen is one."""
        return self.boot_vga if self.monitor is None else self.monitor

    @property
    def short(self) -> str:
        """The address as people write it."""
        return self.address.removeprefix("0000:")

    @property
    def gb_s(self) -> float:
        """The link at its best, GB/s in one direction; 0 where it is not known."""
        return GENERATIONS.get(self.speed, ("", 0.0))[1] * self.width

    @property
    def link(self) -> str:
        """The link in words."""
        if not self.gb_s:
            return "its link is not known"
        now = f" (now x{self.width_now})" if 0 < self.width_now < self.width else ""
        return f"PCIe {GENERATIONS[self.speed][0]} x{self.width}{now}"

    @property
    def screen(self) -> str:
        """What is known of a display, in words."""
        if self.monitor is None:
            return "the firmware's display" if self.boot_vga else "no display"
        return "a display" if self.monitor else "no display"


@dataclass(frozen=True)
class Board:
    """A card in its slot. ``key``: of the cards' table, "" for a card that is not in it; ``card``: with its display taken off.

    ``vram_mib``, ``bandwidth_gb_s``: as a person said them. ``display``: 800 MiB less are counted on.
    """

    slot: Slot
    key: str
    card: Card
    vram_mib: int | None = None
    bandwidth_gb_s: float | None = None
    display: bool = False

    @property
    def address(self) -> str:
        return self.slot.address

    @property
    def words(self) -> str:
        """All that is known of it, for a person."""
        node = f", NUMA node {self.slot.node}" if self.slot.node > 0 else ""
        name = "card" if self.card.name == f"{self.card.vram_mib} MiB card" else self.card.name
        screen = "a display" if self.display and not self.slot.display else self.slot.screen
        return f"{name}, {self.card.vram_mib:,} MiB, {self.slot.link}, {screen}{node}"
