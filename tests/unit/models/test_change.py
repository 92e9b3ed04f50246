"""The record of which model each role has in service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from holdfast.components.models.change import read_in_service, write_in_service


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "holdfast" / "in-service.json")
    assert read_in_service(path) == {}
    for roles in ({"coder": "sha256:a", "reasoner": "sha256:b"}, {"coder": "sha256:c"}):
        write_in_service(path, roles)
        assert read_in_service(path) == roles
    assert [entry.name for entry in (tmp_path / "holdfast").iterdir()] == ["in-service.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", "null"])
def test_a_record_that_nobody_can_read_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    assert read_in_service(str(tmp_path / "x")) == {}


def test_what_is_in_service_is_noted_whole_or_with_its_reason(tmp_path: Path) -> None:
    path, store = tmp_path / "deep" / "note.json", tmp_path / "store"
    raw = b'{"layers": []}'
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    roles = {"coder": digest, "reasoner": "sha256:" + "0" * 64}
    assert write_in_service(str(path), roles) == ""
    assert read_in_service(str(path)) == roles
    assert read_in_service(str(path), str(store)) == {}
    (store / "manifests" / "library").mkdir(parents=True)
    (store / "manifests" / "library" / "7b").write_bytes(raw)
    assert read_in_service(str(path), str(store)) == {"coder": digest}, "the other one never came"
    (tmp_path / "deep" / "note.json.new").mkdir()
    assert "note.json.new: Is a directory" in write_in_service(str(path), {})
    assert read_in_service(str(path)) == roles
