"""For all tests: how hard the random ones try."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# `./holdfast test` tries a few examples of each; `--soak N` many (src/holdfast/cli sets HOLDFAST_SOAK).
SOAK = int(os.environ.get("HOLDFAST_SOAK") or 0)
settings.register_profile(
    "holdfast",
    max_examples=30 if not SOAK else 1000 * SOAK,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("holdfast")


def needs(program: str) -> pytest.MarkDecorator:
    """Left out where ``program`` is not installed; where CI=true nothing is left out, and the test fails there."""
    lacking = shutil.which(program) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(lacking, reason=f"no {program} here")


@pytest.fixture(autouse=True)
def _environment_as_it_was() -> Iterator[None]:
    """The command line tells its subprocesses things by the environment; the next test must not hear them."""
    before = dict(os.environ)
    yield
    for key in set(os.environ) - set(before):
        del os.environ[key]
    os.environ.update(before)
