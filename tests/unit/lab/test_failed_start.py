"""A lab that fails to start is removed, and its logs stay where the error says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from holdfast import depot
from holdfast.errors import HoldfastError
from holdfast.lab import lab as module
from holdfast.lab.cleanup import kept_logs
from holdfast.lab.lab import Lab
from holdfast.lab.layout import Layout
from holdfast.lab.processes import wait_until
from holdfast.proc import run


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `Lab.up` fail: its folder is made, then a function is called with the layout."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(module.prerequisites, "ensure", lambda progress: [])
    monkeypatch.setattr(depot, "fetch", lambda progress: {})
    monkeypatch.setattr(depot, "path", lambda name: tmp_path / name)
    monkeypatch.setattr(module, "remove", lambda layout: shutil.rmtree(layout.folder, ignore_errors=True))

    def fail_with(act: Any) -> None:
        def everything(making: Any, *words: Any) -> None:
            making.layout.folder.mkdir(mode=0o700)
            act(making.layout)

        monkeypatch.setattr(module._Making, "everything", everything)

    return fail_with


def ends(layout: Layout) -> None:
    layout.logs.mkdir()
    (layout.logs / "control.log").write_text("no such database\n")
    wait_until("the control server", lambda: False, seconds=0, log=layout.logs / "control.log")


def command(layout: Layout) -> None:
    run(["sh", "-c", "echo no such database; exit 3"], log=layout.logs / "control.log")


def nameless(layout: Layout) -> None:
    layout.logs.mkdir()
    (layout.logs / "control.log").write_text("no such database\n")
    raise HoldfastError("it does not start", fix="try")


@pytest.mark.parametrize("act", [ends, command, nameless])
def test_the_log_that_the_error_names_is_there(failing: Any, act: Any) -> None:
    failing(act)
    layout = Layout("few")
    for _ in range(2):  # those of the second failure replace those of the first
        with pytest.raises(HoldfastError) as told:
            Lab("few").up()
        assert not layout.folder.exists()
        log = kept_logs(layout) / "control.log"
        assert str(kept_logs(layout)) in told.value.where and str(layout.logs) not in told.value.render()
        assert "no such database" in log.read_text()
        if act is not nameless:
            assert str(log) in told.value.where
    assert list(kept_logs(layout).iterdir()) == [log]
    assert kept_logs(layout).stat().st_mode & 0o777 == 0o700


def test_another_error_is_passed_on_and_the_logs_stay_too(failing: Any) -> None:
    def interrupted(layout: Layout) -> None:
        layout.logs.mkdir()
        (layout.logs / "machine.log").write_text("booting")
        raise KeyboardInterrupt

    failing(interrupted)
    with pytest.raises(KeyboardInterrupt):
        Lab("few").up()
    assert not Layout("few").folder.exists()
    assert (kept_logs(Layout("few")) / "machine.log").read_text() == "booting"


@pytest.mark.parametrize("blocked", [False, True])
def test_logs_that_cannot_be_kept_keep_nothing_else(failing: Any, blocked: bool) -> None:
    """No logs yet, or no place for them: the lab is removed and the first error is the one that is told."""
    layout = Layout("few")
    if blocked:
        kept_logs(layout).parent.parent.mkdir(parents=True)
        kept_logs(layout).parent.write_text("no folder")

    def fail(layout: Layout) -> None:
        if blocked:
            layout.logs.mkdir()
        raise HoldfastError("it does not start", fix="try")

    failing(fail)
    with pytest.raises(HoldfastError, match="it does not start") as told:
        Lab("few").up()
    assert told.value.where == "" and not layout.folder.exists()
