"""hosts.yml under `init`: as a whole or not at all, and never over what is there without a yes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.init_person import OTHER, Seen, file, seen, started, terminal
from tests.unit.fit.machines import slot

from holdfast.cli import init, init_block
from holdfast.errors import HoldfastError
from holdfast.settings.loader import load

__all__ = ["file", "seen"]  # fixtures


def test_no_block_is_replaced_without_a_yes(file: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    before = "box: {profile: cpu}  # precious\n" + OTHER
    file.write_text(before)
    monkeypatch.setattr(init, "look", lambda args, name: pytest.fail("it was looked at"))
    with pytest.raises(HoldfastError, match=r"is in .* already") as caught:
        started()
    assert "--update" in caught.value.fix and "HOLDFAST_HOSTS=other.yml" in caught.value.fix
    seen(slot(1))
    for answer in ("", "n", "later"):
        asked = terminal(monkeypatch, answer)
        with pytest.raises(HoldfastError, match="left as it is"):
            started()
        assert "Replace" in asked[0] and file.read_text() == before
    terminal(monkeypatch, "y")
    started()
    after = file.read_text()
    assert after.endswith(OTHER) and "precious" not in after and load("box").profile == "single_24gb"


def test_yes_needs_no_question(file: Path, seen: Seen) -> None:
    file.write_text(f"{OTHER}box:\n  profile: cpu\n\n  login_user: eve\n\n# the end\n")
    seen(slot(1))
    started(yes=True)
    text = file.read_text()
    assert text.startswith(OTHER) and text.endswith("\n\n# the end\n") and "eve" not in text


def test_line_ends_a_link_and_the_mode_stay(file: Path, seen: Seen, tmp_path: Path) -> None:
    real = tmp_path / "real.yml"
    real.write_bytes(OTHER.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    file.symlink_to(real)
    seen(slot(1))
    started()
    raw = real.read_bytes()
    assert file.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    assert raw.count(b"\n") == raw.count(b"\r\n") > OTHER.count("\n") and load("box").gpus
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_somebody_else_changed_meanwhile_is_left_alone(
    file: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(OTHER)
    real = init_block.draft

    def slow(boards: Any) -> Any:
        file.write_text(f"{OTHER}# theirs\n")
        return real(boards)

    monkeypatch.setattr(init_block, "draft", slow)
    seen(slot(1))
    with pytest.raises(HoldfastError, match="somebody else meanwhile"):
        started()
    assert file.read_text() == f"{OTHER}# theirs\n"


@pytest.mark.parametrize(
    "text", ["{other: {profile: cpu}}\n", "other: {profile: cpu}\n...\n", "box: {profile:\ncpu}\n"]
)
def test_a_file_that_cannot_be_edited_safely_is_left_alone(text: str, file: Path, seen: Seen) -> None:
    file.write_text(text)
    seen(slot(1))
    with pytest.raises(HoldfastError) as caught:
        started(yes=True)
    assert caught.value.fix and file.read_text() == text


def test_it_says_before_it_looks_that_hosts_yml_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "look", lambda args, name: pytest.fail("it was looked at"))
    nowhere = file.parent / "nowhere"
    monkeypatch.setenv("HOLDFAST_HOSTS", str(nowhere / "hosts.yml"))
    with pytest.raises(HoldfastError) as caught:
        started()
    assert f"there is no folder {nowhere}" in str(caught.value) and "HOLDFAST_HOSTS" in caught.value.fix
    monkeypatch.setenv("HOLDFAST_HOSTS", str(file))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HoldfastError) as caught:
        started()
    assert caught.value.where == str(file.parent) and caught.value.code == 1


def test_a_disk_that_fails_while_it_writes(file: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(OTHER)
    seen(slot(1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HoldfastError, match=r"hosts\.yml cannot be written: No space left on device"):
        started()
    assert file.read_text() == OTHER
