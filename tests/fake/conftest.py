"""The surroundings of every test here: a depot of this computer's own, a join key at hand, no other setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fake import engine, world
from tests.fake.machine import Machine

from holdfast.depot.record import BUILT


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOLDFAST_EVENTS", "HOLDFAST_DIFF", "HOLDFAST_SET", "HOLDFAST_PARENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.setenv(world.KEY_VARIABLE, world.KEY)
    world.record(BUILT)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The usual settings, with an authority of one's own among them."""
    pem = tmp_path_factory.mktemp("ca") / "home.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\nhome\n-----END CERTIFICATE-----\n")
    return world.site(base={"ca_certificates": [str(pem)]})


@pytest.fixture
def required(site: dict[str, Any]) -> dict[str, Any]:
    """The usual settings, for a machine that must compute on its cards."""
    return {**site, "require_gpu": True}


_CONVERGED: list[Machine] = []


@pytest.fixture
def converged(site: dict[str, Any]) -> Machine:
    """A machine after one apply of ``site``, fresh for each test."""
    if not _CONVERGED:
        machine = world.machine()
        done = engine.run(machine, site)
        assert not done.failed, done.events
        _CONVERGED.append(machine)
    return _CONVERGED[0].copy()
