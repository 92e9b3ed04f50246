"""What nvidia-smi said of a card while tokens came, over all looks of an instance (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.bench.onhost.machine import CARD
from holdfast.bench.proofs import rows, uuids

# Bits of nvmlClocksEventReasons (nvml.h). The bits of an idle card and of clocks that somebody has set say nothing of a fault.
_POWER = 0x04 | 0x80  # SwPowerCap, HwPowerBrakeSlowdown
_HEAT = 0x20 | 0x40  # SwThermalSlowdown, HwThermalSlowdown
_SLOWDOWN = 0x08  # HwSlowdown: one of heat, power brake, or a supply that is too weak


@dataclass(frozen=True)
class Seen:
    """One card under load. Watts, degrees Celsius, MHz; None where the driver does not tell.

    ``draw_w`` and ``celsius`` are the highest seen; ``memory_mhz`` and ``pcie_*`` too, since a card that idles for a moment
    lowers them. ``power``, ``heat``, ``slowdown``: whether the driver named it as what held the clocks down in any look.
    """

    name: str
    model: str
    driver: str
    draw_w: float | None
    limit_w: float | None
    default_limit_w: float | None
    celsius: float | None
    memory_mhz: float | None
    memory_most_mhz: float | None
    pcie: tuple[int, int] | None  # generation, lanes
    pcie_most: tuple[int, int] | None
    power: bool = False
    heat: bool = False
    slowdown: bool = False


def seen(looks: Sequence[Mapping[str, Any]], planned: Mapping[str, str]) -> list[Seen]:
    """The planned cards, in the order of the plan."""
    by_name: dict[str, list[dict[str, str]]] = {}
    bits: dict[str, int] = {}
    for look in looks:
        known = uuids(look["cards"]["text"], planned)
        for row in rows(look["cards"]["text"], CARD):
            if row["uuid"] in known:
                by_name.setdefault(known[row["uuid"]], []).append(row)
        for row in rows(look["events"]["text"], "uuid,bits"):
            if row["uuid"] in known and row["bits"].startswith("0x"):
                name = known[row["uuid"]]
                bits[name] = bits.get(name, 0) | int(row["bits"], 16)
    return [_card(name, by_name[name], bits.get(name, 0)) for name in planned if name in by_name]


def _card(name: str, looks: list[dict[str, str]], bits: int) -> Seen:
    def most(field: str) -> float | None:
        values = [number for look in looks if (number := _number(look[field])) is not None]
        return max(values, default=None)

    def link(suffix: str) -> tuple[int, int] | None:
        generation, lanes = most(f"pcie.link.gen.{suffix}"), most(f"pcie.link.width.{suffix}")
        return None if generation is None or lanes is None else (int(generation), int(lanes))

    last = looks[-1]
    return Seen(
        name=name, model=last["name"], driver=last["driver_version"], draw_w=most("power.draw"), limit_w=most("power.limit"),
        default_limit_w=most("power.default_limit"), celsius=most("temperature.gpu"), memory_mhz=most("clocks.mem"),
        memory_most_mhz=most("clocks.max.mem"), pcie=link("current"), pcie_most=link("max"), power=bool(bits & _POWER),
        heat=bool(bits & _HEAT), slowdown=bool(bits & _SLOWDOWN),
    )  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
