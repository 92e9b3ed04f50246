"""What a person gives on the command line: refused with exit code 2 before it can do harm, never a traceback."""

from __future__ import annotations

import pytest

from holdfast.cli import hosts
from holdfast.errors import HoldfastError


@pytest.mark.parametrize("value", ["2026-01-01", "!!binary aGk=", "{1, 2: [", "!!set {a}", "2001-99-99", "[" * 3000])
def test_set_refuses_what_no_setting_can_be(value: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        hosts.overrides([f"a.b={value}"])
    assert caught.value.code == 2 and "--set a.b" in caught.value.render()
