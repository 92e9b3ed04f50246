"""`./holdfast down` by somebody who did not make the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import down
from holdfast.cli.main import run
from holdfast.lab.lab import Lab


@pytest.mark.parametrize(("user", "code"), [(1000, 1), (0, 0)], ids=["an ordinary user", "root"])
def test_a_machine_of_another_user_is_not_said_to_be_gone(
    user: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "hf-lab-ws").touch()
    monkeypatch.setattr(down, "Path", lambda *parts: tmp_path / parts[-1] if parts[0] == "/run/netns" else Path(*parts))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    removed: list[Any] = []
    monkeypatch.setattr(Lab, "down", lambda self, progress: removed.append(self.name))
    assert run(["down"]) == code
    said = capsys.readouterr()
    if code:
        assert "another user's" in said.err and "Fix: sudo ./holdfast down" in said.err and not removed
    else:
        assert removed == ["lab"] and "there was no throw-away machine" in said.out
