"""Units by state: from any state, one round of steps leads to what is wanted, and a second round has nothing to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.operations.unit import config_hash, read_unit, steps

GOOD = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no", "config": "c"}

STATES = st.fixed_dictionaries(
    {
        "LoadState": st.sampled_from(["loaded", "not-found", "masked"]),
        "ActiveState": st.sampled_from(["active", "inactive", "failed", "activating", "deactivating"]),
        "UnitFileState": st.sampled_from(["enabled", "disabled", "static", "masked", ""]),
        "NeedDaemonReload": st.sampled_from(["yes", "no"]),
        "config": st.sampled_from(["", "c", "old"]),
    }
)


def after(state: dict[str, Any], verbs: list[str], config: str) -> dict[str, Any]:
    """What systemd makes of ``verbs``."""
    state = dict(state)
    for verb in verbs:
        if verb == "unmask":
            state.update(UnitFileState="disabled", LoadState="loaded")
        elif verb == "daemon-reload":
            state.update(NeedDaemonReload="no", LoadState="loaded")
        elif verb == "enable":
            state["UnitFileState"] = "enabled"
        elif verb == "disable":
            state["UnitFileState"] = "disabled"
        elif verb in ("start", "restart"):
            state.update(ActiveState="active", config=config)
        elif verb == "stop":
            state["ActiveState"] = "inactive"
    return state


@given(STATES)
def test_one_round_is_enough(state: dict[str, Any]) -> None:
    verbs = steps(state, config="c", enabled=True, running=True)
    assert steps(after(state, verbs, "c"), config="c", enabled=True, running=True) == []


def test_nothing_to_do_when_all_is_well() -> None:
    assert steps(GOOD, config="c", enabled=True, running=True) == []


def test_a_file_written_before_a_cut_still_restarts_the_process() -> None:
    """The process runs with the old configuration although every file is new: the state says so."""
    assert steps({**GOOD, "config": "old"}, config="c", enabled=True, running=True) == ["restart"]


def test_a_file_put_right_behind_a_running_process_restarts_it() -> None:
    """Somebody broke the environment and restarted; the hash in it was still the right one."""
    assert steps({**GOOD, "stale": ["/etc/x.env"]}, config="c", enabled=True, running=True) == ["restart"]


@pytest.mark.parametrize(
    ("changes", "verbs"),
    [
        ({"ActiveState": "inactive"}, ["start"]),
        ({"ActiveState": "failed"}, ["reset-failed", "start"]),
        ({"NeedDaemonReload": "yes"}, ["daemon-reload"]),
        ({"UnitFileState": "disabled"}, ["enable"]),
        ({"UnitFileState": "masked", "ActiveState": "inactive"}, ["unmask", "enable", "start"]),
    ],
)
def test_each_drift_has_its_verb(changes: dict[str, str], verbs: list[str]) -> None:
    assert steps({**GOOD, **changes}, config="c", enabled=True, running=True) == verbs


def test_a_bare_machine_gets_everything() -> None:
    assert steps(None, config="c", enabled=True, running=True) == ["daemon-reload", "enable", "start"]


def test_hash_parts_do_not_run_into_one_another() -> None:
    assert config_hash("ab", "c") != config_hash("a", "bc")
    assert config_hash("ab", "c") == config_hash(b"ab", b"c")


def test_a_process_that_is_not_the_program_that_lies_there_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release is current, or the one that runs was taken away."""
    sleep = shutil.which("sleep")
    assert sleep
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        shutil.copy(os.path.realpath(sleep), tmp_path / version / "sleep")
    (tmp_path / "current").symlink_to("1")
    program = str(tmp_path / "current" / "sleep")
    process = subprocess.Popen([program, "60"])
    try:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho LoadState=loaded\necho MainPID={process.pid}\n")
        (tmp_path / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert read_unit("u", program)["stale"] == []
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("2")
        assert read_unit("u", program)["stale"] == [program]
        assert read_unit("u")["stale"] == []
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("1")
        shutil.rmtree(tmp_path / "1")
        assert read_unit("u", program)["stale"] == [program]
    finally:
        process.kill()
        process.wait()
