"""`./holdfast depot list`: what is there, and what only the record says is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from holdfast.cli.main import run
from holdfast.depot import record
from holdfast.depot.record import Entry


def test_a_file_that_is_gone_is_not_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = record.root() / "ollama.tar"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    entry = Entry("ollama", "0.1", "built here", inputs="", file=file.name, size=1, sha256=hashlib.sha256(b"x").hexdigest())
    record.store({"ollama": entry})
    assert run(["depot", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("ollama "))
    assert "built here" in line and "gone" not in line
    file.unlink()
    assert run(["depot", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("ollama "))
    assert "ollama.tar is gone" in line and "./holdfast depot fetch ollama" in line
