"""What counts as an instance on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.components.ollama.instances import read_instances


def test_every_trace_of_an_instance_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd, etc, programs = tmp_path / "systemd", tmp_path / "etc", tmp_path / "bin"
    for path in (systemd / "ollama@one.service.d", systemd / "multi-user.target.wants", etc, programs):
        path.mkdir(parents=True)
    (systemd / "ollama@.service").touch()
    (etc / "two.env").touch()
    (systemd / "multi-user.target.wants" / "ollama@three-b.service").symlink_to("/nowhere")
    (programs / "systemctl").write_text("#!/bin/sh\necho 'ollama@four.service loaded active running Ollama, the four'\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert read_instances(str(systemd), str(etc)) == ["four", "one", "three-b", "two"]
    monkeypatch.setenv("PATH", str(etc))
    assert read_instances(str(systemd), str(etc)) == ["one", "three-b", "two"]
