"""The machine that all tests in this folder share: as that of tests/lab, a lab of its own called "faults". Needs root."""

from __future__ import annotations

import os

import pytest
from tests.lab.conftest import lab, workstation

__all__ = ["lab", "lab_name", "workstation"]


@pytest.fixture(scope="session")
def lab_name() -> str:
    return os.environ.get("HOLDFAST_TEST_LAB", "faults")
