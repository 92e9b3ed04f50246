"""The Fix of a wrong value says what to write, and does not repeat the error."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import SettingsError
from holdfast.settings.loader import resolve, site

BASE = {"profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"}}


@pytest.mark.parametrize(
    ("block", "fix"),
    [
        # What YAML makes of 01:00.0 and 01:00:0 without quotes.
        ({"gpus": {"left": 60.0, "right": "21:00.0"}}, 'write it as lspci shows it, in quotes: "01:00.0"'),
        ({"gpus": {"left": 3600, "right": "21:00.0"}}, 'write it as lspci shows it, in quotes: "01:00.0"'),
        ({"instances": {"coder": {"port": 80}}}, "set box.instances.coder.port to a whole number from 1024 to 32767"),
        ({"instances": {"coder": {"port": 11435}}}, "give one of them another: port: 11434"),
        (
            {"instances": {"coder": {"gpus": ["lft"]}}},
            "write one of the known names in instances.coder.gpus, or add lft:",
        ),
        (
            {"instances": {"coder": {"kv_type": "q9"}}},
            "set box.instances.coder.kv_type to one of 'f16', 'q8_0', 'q4_0'",
        ),
        # "or nothing", limits within a mapping, and no mapping at all.
        ({"nvidia": {"branch": 9999}}, "set box.nvidia.branch to a whole number from 470 to 999"),
        ({"nvidia": {"power_limit_w": {"left": 20}}}, "power_limit_w.left to a whole number from 100 to 1000"),
        ({"nvidia": {"power_limit_w": 280}}, "for example {'left': 280, 'right': 280}"),
        ({"login_user": "Ada X"}, "for example ada"),
        ({"aider": {"editor": "cder"}}, "set aider.editor to one of coder, reasoner"),
    ],
)
def test_it_can_be_done(block: dict[str, Any], fix: str) -> None:
    with pytest.raises(SettingsError) as told:
        resolve(site("box", {**BASE, **block}, "hosts.yml"), where="hosts.yml")
    assert fix in told.value.fix
    assert not told.value.fix.startswith("correct ")
