"""The declared cards, before anything is looked up by them: where one is not there, one sentence says which and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.verify.machine import Shape

ON_CPU = "or set require_gpu: false for the CPU"


def planned(shape: Shape, *roles: str) -> dict[str, str]:
    """Name -> PCI address of the cards that ``roles`` use (without any: all roles)."""
    used = [name for role in roles or shape.instances for name in shape.instances[role].gpus]
    return {name: shape.gpus[name] for name in used}


def require(cards: dict[str, Any], shape: Shape, *roles: str) -> None:
    """Fail where a card that ``roles`` use (without any: all roles) is not on the PCI bus."""
    wanted = planned(shape, *roles)
    absent = {address: name for name, address in wanted.items() if address not in cards["cards"]}
    there = ", ".join(sorted(cards["cards"])) or "none"
    if absent:
        fail(
            f"{shape.name} has no NVIDIA card at {_told(absent)}, where hosts.yml declares one; those on its PCI bus: {there}",
            f"correct gpus in hosts.yml (lspci -D | grep -i nvidia), seat the card, {ON_CPU}",
        )
    if not wanted and not cards["cards"]:
        fail(f"{shape.name} has no NVIDIA card, and require_gpu is true", f"name its cards in hosts.yml (gpus), {ON_CPU}")


def uuids(cards: dict[str, Any], shape: Shape, role: str) -> list[str]:
    """What the driver calls the cards of ``role``, in their order. Fails where it has not got one of them."""
    require(cards, shape, role)
    require_driven(cards, shape, planned(shape, role).values())
    known = {row["address"]: row["uuid"] for row in cards["smi"]}
    return [known[shape.gpus[name]] for name in shape.instances[role].gpus]


def require_driven(cards: dict[str, Any], shape: Shape, addresses: Iterable[str]) -> None:
    """Fail where the driver does not list a card that is on the bus."""
    listed = {row["address"] for row in cards["smi"]}
    names = {address: name for name, address in shape.gpus.items()}
    unlisted = {address: names.get(address, "undeclared") for address in addresses if address not in listed}
    if unlisted:
        why = f": {cards['problem']}" if cards["problem"] else ""
        fail(
            f"the NVIDIA driver on {shape.name} does not list the card at {_told(unlisted)}{why}",
            f"./holdfast status {shape.name} says what is wrong with the driver, ./holdfast up {shape.name} mends it",
        )


def fail(sentence: str, fix: str) -> None:
    pytest.fail(f"{sentence}\nFix: {fix}", pytrace=False)


def _told(names: dict[str, str]) -> str:
    return ", ".join(f"{address} ({name})" for address, name in names.items())
