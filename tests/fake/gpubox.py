"""A simulated machine with two cards, and what a test asks of it."""

from __future__ import annotations

from typing import Any

from tests.fake import cards, engine, world
from tests.fake.machine import Machine

from holdfast.components.nvidia.sources import KEYS
from holdfast.depot.record import RELEASE

CODER = "ollama@coder.service"


def bare(distribution: str = "debian", codename: str = "trixie", *, python: bool = False) -> Machine:
    """Two cards that nouveau holds, and no driver."""
    # An Ollama that can use cards.
    world.record(RELEASE)
    m = cards.insert(world.machine(distribution, codename, python=python), world.LEFT, world.RIGHT, driver="")
    key = KEYS.get({"bookworm": "debian12", "trixie": "debian13"}.get(codename, ""))
    m.driver.vendor_key = key.fingerprint if key else ""
    return m


def driven(site: dict[str, Any], **more: Any) -> Machine:
    m = bare(**more)
    done = engine.run(m, site)
    assert not done.failed, done.errors
    return m


def notes(done: engine.Applied) -> str:
    return "\n".join(str(event["message"]) for event in done.events if event["event"] == "note")


def works(m: Machine) -> bool:
    process = m.units[CODER].process
    return (
        m.module == m.library != "" and process is not None and "GPU-0000" in dict(process.env)["CUDA_VISIBLE_DEVICES"]
    )
