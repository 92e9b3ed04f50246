"""Machines as the PCI bus shows them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from holdfast.cli import init_cards
from holdfast.fit import CARDS
from holdfast.fit.slot import GENERATIONS, Board, Slot

KEYS = [key for key, card in CARDS.items() if card.devices]


def slot(bus: int, key: str = "rtx-3090", **more: Any) -> Slot:
    """A card of kind ``key`` on bus ``bus``; "": of an unknown kind."""
    device = CARDS[key].devices[0] if key else "ffff"
    return Slot(f"0000:{bus:02x}:00.0", device, **{"speed": 16.0, "width": 16, "width_now": 16, **more})


def board(bus: int, key: str = "rtx-3090", **more: Any) -> Board:
    return init_cards.board(slot(bus, key, **more), key)


@st.composite
def slots(draw: Any, most: int = 5, keys: list[str] = KEYS) -> list[Slot]:
    """Up to ``most`` cards of any kinds, links and displays."""
    buses = draw(st.lists(st.integers(1, 250), unique=True, max_size=most))
    return [
        slot(
            bus, draw(st.sampled_from(keys)), speed=draw(st.sampled_from([0.0, *GENERATIONS])),
            width=draw(st.sampled_from([0, 1, 4, 8, 16])), width_now=draw(st.sampled_from([0, 1, 4, 8, 16])),
            monitor=draw(st.sampled_from([None, False, True])), boot_vga=draw(st.booleans()),
        )
        for bus in buses
    ]  # fmt: skip
