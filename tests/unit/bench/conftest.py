"""The checks of tests/verify are called here as functions, and their marker must be known."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(words): as in tests/verify")
