"""The cards of a machine: where each is on the PCI bus, and what kind it is."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from holdfast.fit.cards import CARDS, Card, custom
from holdfast.settings.explain import FIX
from holdfast.settings.section import Section

_PCI = re.compile(r"^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$")


def _pci_address(value: str) -> str:
    found = _PCI.match(value.lower())
    if not found:
        raise ValueError(f'not a PCI address{FIX}write it as lspci shows it, in quotes: "01:00.0"')
    domain, bus, device, function = found.groups()
    return f"{int(domain or '0', 16):04x}:{bus}:{device}.{function}"


def _card(value: str) -> str:
    if value and value not in CARDS:
        near = difflib.get_close_matches(value.lower().replace(" ", "-"), CARDS, n=3, cutoff=0.4) or list(CARDS)[:3]
        raise ValueError(f"no card of the table (src/holdfast/fit/cards.py); near it: {', '.join(near)}")
    return value


PciAddress = Annotated[str, AfterValidator(_pci_address)]
CardName = Annotated[str, AfterValidator(_card)]


class Gpu(Section):
    """One card. In hosts.yml its PCI address alone will do: `left: "01:00.0"`."""

    address: PciAddress = Field(description="Where it is on the PCI bus, as lspci shows it.", examples=["01:00.0"])
    card: CardName = Field(
        default="", description="What kind of card it is, for what fits on it; empty: the machine's `card`.",
        examples=["rtx-3090"],
    )  # fmt: skip
    vram_mib: int | None = Field(
        default=None, ge=1024, le=1_048_576,
        description="Its memory in MiB as nvidia-smi says, where the table of cards is wrong or has none like it.",
    )  # fmt: skip
    bandwidth_gb_s: float | None = Field(
        default=None,
        ge=10,
        le=100_000,
        description="Its memory's speed in GB/s, likewise; only the speed limit needs it.",
    )
    display: bool = Field(
        default=False, description="True where a desktop runs on it: 800 MiB less are then counted on."
    )

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"address": value}
        if not isinstance(value, dict | cls):
            # YAML reads 01:00.0 as a number to the base of sixty.
            raise ValueError(f'not a PCI address{FIX}write it as lspci shows it, in quotes: "01:00.0"')
        return value

    def kind(self, default: str) -> Card | None:
        """The card; ``default`` is the machine's. None where nobody said which it is."""
        # One with a memory of its own and no kind is not taken for the machine's usual one: neither by name nor by speed.
        known = CARDS.get(self.card or ("" if self.vram_mib else default))
        speed = self.bandwidth_gb_s or (known.bandwidth_gb_s if known else 0.0)
        if self.vram_mib is not None:
            known = custom(self.vram_mib, speed, known.name if known else "")
        elif known is not None and self.bandwidth_gb_s is not None:
            known = Card(known.name, known.vram_mib, known.free_mib, speed, known.devices)
        return known.with_display() if known is not None and self.display else known
