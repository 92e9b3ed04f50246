"""The lab that all tests in this folder share: called "test", started when it does not run. Root is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from holdfast.lab import Lab, state


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A living lab. One that cannot start fails the test; it never skips it.

    A lab that was already there stays; one started here is removed at the end ($HOLDFAST_KEEP_LAB=1 keeps it).
    """
    made = Lab("test")
    was_there = state.load("test") is not None
    made.up()
    yield made
    if not was_there and os.environ.get("HOLDFAST_KEEP_LAB") != "1":
        made.down()
