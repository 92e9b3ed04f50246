"""The machine that all tests in this folder share: provisioned in systemd-nspawn, then booted as a virtual machine. Needs root.

Its tree is the one that the driver's tests have provisioned (tests/driver/provisioned.py): Debian 13 with the real driver and
the module really built. $HOLDFAST_TEST_VM_LAB names another lab; $HOLDFAST_KEEP_LAB=1 keeps one that was started here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.driver import provisioned
from tests.vm import kernels
from tests.vm.machine import NAME, SMALL, VmMachine


@dataclass
class Virtual:
    """``new``: the release of the kernel that the driver was built for; it first boots another."""

    machine: VmMachine
    new: str


@pytest.fixture(scope="session")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Virtual]:
    """It boots an older kernel than the one with the driver's module. One that cannot start fails the tests."""
    made = VmMachine(NAME, tmp_path_factory.mktemp("applies"), provisioned.tree())
    made.down()
    try:
        made.up()
        made.apply(SMALL)
        new = kernels.put_away(made)
        made.into_vm(made.accelerator())
        yield Virtual(made, new)
    finally:
        if os.environ.get("HOLDFAST_KEEP_LAB") != "1":
            made.down()
