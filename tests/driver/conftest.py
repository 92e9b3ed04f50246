"""The machine that all tests in this folder share: Debian 13 with FAKE cards, provisioned (provisioned.py). Needs root.

$HOLDFAST_TEST_DRIVER_LAB names another lab; $HOLDFAST_KEEP_LAB=1 keeps one that was started here. A lab that was there stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.driver import provisioned
from tests.driver.machine import DriverMachine

from holdfast.lab import state


@pytest.fixture(scope="session")
def base() -> Path:
    """The tree that a real apply has provisioned; made here where it is missing."""
    return provisioned.tree()


@pytest.fixture(scope="session")
def record(base: Path) -> dict[str, Any]:
    """What that apply told."""
    return provisioned.record()


@pytest.fixture(scope="session")
def machine(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverMachine]:
    """A copy of it, running, with an apply behind it: certificates and the like are this lab's. A test that changes something
    leaves it as it was."""
    was_there = state.load(provisioned.NAME) is not None
    made = DriverMachine(provisioned.NAME, tmp_path_factory.mktemp("applies"), base)
    try:
        made.up()
        made.applied()
        yield made
    finally:
        if not was_there and os.environ.get("HOLDFAST_KEEP_LAB") != "1":
            made.down()
