from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast.lab import state
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process
from holdfast.lab.state import LabState


@pytest.fixture(autouse=True)
def own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def make(name: str, pid: int, ticks: int) -> LabState:
    Layout(name).folder.mkdir(parents=True)
    made = LabState(
        name=name, nonce="n", release="bookworm", ssh_config="c", site={"profile": "p"}, namespaces={}, lan={}, tailnet={},
        processes=[Process("uplink", 1, 1), Process("machine", pid, ticks)],
    )  # fmt: skip
    state.save(made)
    return made


def own_ticks() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def test_what_is_saved_is_read_again_and_private() -> None:
    made = make("one", os.getpid(), own_ticks())
    assert state.load("one") == made
    assert [s.name for s in state.running()] == ["one"]
    assert Layout("one").state.stat().st_mode & 0o777 == 0o600


def test_a_lab_whose_machine_has_ended_does_not_run() -> None:
    make("gone", os.getpid(), own_ticks() + 1)
    assert state.load("gone") is None
    assert state.running() == []
    assert state.names() == ["gone"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"processes": [{"x": 1}]}', '{"name": "bad"}', "\x00"])
def test_a_broken_state_file_is_no_lab(text: str) -> None:
    Layout("bad").folder.mkdir(parents=True)
    Layout("bad").state.write_text(text)
    Layout("bad").intent.write_text(text)
    assert state.load("bad") is None
    assert state.running() == []
    assert state.nonce("bad") == ""


def test_no_folder_at_all() -> None:
    assert state.running() == []
    assert state.load("nothing") is None
    assert state.nonce("nothing") == ""


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    state.write(file, {"old": 1})
    with pytest.raises(TypeError):
        state.write(file, {"new": object()})
    assert json.loads(file.read_text()) == {"old": 1}
