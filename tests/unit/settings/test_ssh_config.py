"""An ssh_config or a key that pyinfra could not read is an error of the settings, before anything is connected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.cli import hosts
from holdfast.errors import SettingsError
from holdfast.settings.inventory import require_files
from holdfast.settings.loader import resolve

BLOCK = {"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"}}


def test_a_byte_that_is_no_utf8_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    for place, block in ((file, {**BLOCK, "ssh": {"config_file": str(file)}}), (tmp_path / ".ssh/config", BLOCK)):
        place.write_bytes("Host box\n  User ädä\n".encode())
        require_files(resolve(block))
        place.write_bytes("Host box\n  User ädä\n".encode("latin-1"))
        with pytest.raises(SettingsError) as told:
            require_files(resolve(block))
        assert f"{place}, line 2" in told.value.message and "0xe4" in told.value.message and "line 2" in told.value.fix
        place.unlink()
        require_files(resolve(block))


def test_a_key_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    key = tmp_path / "key"
    block = {**BLOCK, "ssh": {"key_file": str(key)}}
    with pytest.raises(SettingsError) as told:
        require_files(resolve(block))
    assert str(key) in told.value.message and told.value.where == "box.ssh.key_file" and told.value.fix
    key.touch()
    require_files(resolve(block))


def test_only_the_host_that_is_meant_needs_its_key_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hosts.yml"
    monkeypatch.setenv("HOLDFAST_HOSTS", str(file))
    monkeypatch.setenv("HOME", str(tmp_path))
    both = {name: {key: value for key, value in BLOCK.items() if key != "name"} for name in ("near", "far")}
    both["far"]["ssh"] = {"key_file": str(tmp_path / "nowhere")}
    file.write_text(json.dumps(both))
    assert hosts.settings("near").name == "near"
    with pytest.raises(SettingsError, match="nowhere"):
        hosts.settings("far")
