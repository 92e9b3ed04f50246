"""The cards: those declared are there, with one working driver. Skips, by name, where there is none and none is required."""

from __future__ import annotations

from typing import Any

from tests.verify.cards import require, require_driven
from tests.verify.machine import Shape

OLDEST_DRIVER = 550  # Ollama from 0.30 on drops a card whose driver is older, and computes on the CPU


def test_declared_cards_are_there(cards: dict[str, Any], shape: Shape) -> None:
    require(cards, shape)


def test_driver_has_every_card(cards: dict[str, Any], shape: Shape) -> None:
    require_driven(cards, shape, cards["cards"])
    assert not cards["problem"], cards["problem"]
    assert {row["address"] for row in cards["smi"]} == set(cards["cards"])
    assert set(cards["cards"].values()) == {"nvidia"}


def test_driver_is_one_and_new_enough(cards: dict[str, Any], shape: Shape) -> None:
    require_driven(cards, shape, cards["cards"])
    versions = {row["driver_version"] for row in cards["smi"]}
    assert versions == {cards["module"]}, f"library {versions}, module {cards['module']}: a reboot is due"
    assert int(cards["module"].split(".")[0]) >= OLDEST_DRIVER
