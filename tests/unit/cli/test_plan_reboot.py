"""`plan` takes up's words about a reboot, and what it says of one is what that `up` would do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.test_fit import hosts  # noqa: F401

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.cli import up
from holdfast.cli.main import run
from holdfast.cli.parser import Parser


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the runs of a plan were given as settings of their own."""
    given: list[dict[str, Any]] = []

    def plan(name: str, **options: Any) -> Result:
        given.append(json.loads(os.environ.get("HOLDFAST_SET", "{}")).get("values", {}))
        monkeypatch.delenv("HOLDFAST_SET", raising=False)
        return Result(operations=3, pending=["NVIDIA | Install the NVIDIA driver"])

    monkeypatch.setattr(runner, "plan", plan)
    return given


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["--reboot"], {"nvidia.reboot": "always"}),
        (["--no-reboot"], {"nvidia.reboot": "never"}),
        (["--no-reboot", "--set", "nvidia.reboot=auto"], {"nvidia.reboot": "never"}),
    ],
)
def test_the_words_are_those_of_up(
    hosts: Path, settings: list[dict[str, Any]], words: list[str], values: dict[str, Any], capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    assert run(["plan", "gpu-box", *words]) == 3
    assert settings == [values]
    said = capsys.readouterr().out
    # The command that it names is the one it has planned.
    assert f"make it so: ./holdfast up gpu-box{f' {words[0]}' if words else ''}\n" in said
    parser = Parser(prog="up")
    up.arguments(parser)
    assert up.hosts.asked_for(parser.parse_args(["gpu-box", *words])) == values
