"""Operations run here, on this computer: facts are read and commands executed in a folder of the test's own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.settings import Workstation


def execute(command: str, source: str) -> None:
    """A program that travels by stdin, in this process: an interpreter for each takes longer than all the tests."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(compile(source, command, "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            raise subprocess.CalledProcessError(1, command, stderr=str(end.code)) from end


@pytest.fixture
def apply(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a pyinfra operation against this computer; how many commands it needed. Stops at the first that fails."""

    def run(operation: Any, **arguments: Any) -> int:
        function = operation._inner
        scope = function.__globals__
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a busy disk takes most of a second for each
        monkeypatch.setitem(scope, "host", SimpleNamespace(noop=lambda text: None))
        for name, value in list(scope.items()):
            if isinstance(value, type) and hasattr(value, "reader") and name != "PythonFact":
                monkeypatch.setattr(value, "read", classmethod(lambda cls, host, **given: cls.reader(**given)))
        count = 0
        for command in function(**arguments):
            stdin = command.connector_arguments.get("_stdin", "")
            text = command.get_raw_value()
            if text.startswith("python3 "):
                execute(text, stdin)
            else:
                subprocess.run(["sh", "-c", text], input=stdin, text=True, check=True, capture_output=True)
            count += 1
        return count

    return run


@pytest.fixture
def workstation() -> Callable[..., Workstation]:
    """Settings of a machine with two cards; keyword arguments replace whole keys."""

    def make(**changes: Any) -> Workstation:
        data: dict[str, Any] = {
            "name": "gpu-box", "profile": "dual_3090", "login_user": "ada",
            "gpus": {"left": "01:00.0", "right": "21:00.0"},
            "instances": {
                "coder": {"model": "qwen2.5-coder:32b", "gpus": ["left"], "port": 11434},
                "reasoner": {"model": "deepseek-r1:70b", "gpus": ["left", "right"], "port": 11435},
            },
        }  # fmt: skip
        return Workstation.model_validate({**data, **changes})

    return make
