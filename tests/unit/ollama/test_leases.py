"""Who holds what, read from the machine; and that the leases' files are nobody else's."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import time
from pathlib import Path

import pytest

from holdfast.cli.status import leases as rows
from holdfast.components.ollama.leases import read_leases, tend_leases
from holdfast.settings.loader import resolve
from holdfast_onhost import gpu
from holdfast_onhost.lease import preference
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def test_holder_waiter_and_preference(directory: Path) -> None:
    held, waits = Leases(str(directory), ["left", "right"], "reasoner"), Queue(str(directory), ["left"], "coder")
    assert read_leases(str(directory)) == {"held": {}, "prefer": None}
    assert held.take() and waits.join()
    found = read_leases(str(directory))
    assert {name: (e["holder"], [w[0] for w in e["waiting"]]) for name, e in found["held"].items()} == {
        "left": ("reasoner", ["coder"]), "right": ("reasoner", []),
    }  # fmt: skip
    assert all(0 <= entry["held_s"] < 60 for entry in found["held"].values())
    # What the shipped program says, which is another reader.
    assert {r.name: r.holder for r in gpu.resources(str(directory))} == {n: e["holder"] for n, e in found["held"].items()}
    preference.write(str(directory), "coder", 30)
    assert (prefer := read_leases(str(directory))["prefer"])["instance"] == "coder" and 0 < prefer["left_s"] <= 30
    preference.write(str(directory), "coder", -1)
    held.release()
    waits.leave()
    found = read_leases(str(directory))
    assert found == {"held": {n: {"holder": "", "held_s": 0.0, "waiting": []} for n in ("left", "right")}, "prefer": None}


def test_files_that_make_no_sense_are_no_failure(directory: Path) -> None:
    held = Leases(str(directory), ["left"], "coder")
    assert held.take()
    (directory / "left.holder").write_text("[]")
    (directory / "prefer").write_text("{")
    found = read_leases(str(directory))
    assert found["held"]["left"]["holder"] == "somebody" and found["prefer"] is None
    assert read_leases(str(directory / "none")) is None
    held.release()


def test_status_shows_it() -> None:
    site = {"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"}}
    ws = resolve(site)
    assert list(rows(ws, None)) == [("lease of left", "free"), ("lease of right", "free")]
    busy = {"holder": "coder", "held_s": 61.2, "waiting": [["reasoner", 3.4]]}
    found = {"held": {"left": busy}, "prefer": {"instance": "reasoner", "left_s": 100.0}}
    assert list(rows(ws, found)) == [
        ("lease of left", "held by coder for 61 s; reasoner waits for 3 s"), ("lease of right", "free"),
        ("preferred", "reasoner, for another 100 s"),
    ]  # fmt: skip


def test_modes_are_put_right_without_taking_a_lease_from_its_holder(directory: Path) -> None:
    me = getpass.getuser()
    held, waits = Leases(str(directory), ["left"], "coder"), Queue(str(directory), ["left"], "reasoner")
    assert held.take() and waits.join()
    preference.write(str(directory), "coder", 30)
    assert tend_leases(str(directory), me, False) == []
    (directory / "left.lease").chmod(0o666)
    (directory / "left.queue" / "reasoner").chmod(0o644)
    (directory / "left.queue").chmod(0o777)
    inode = (directory / "left.lease").stat().st_ino
    wrong = sorted(os.path.relpath(path, directory) for path in tend_leases(str(directory), me, False))
    assert wrong == ["left.lease", "left.queue", "left.queue/reasoner"]
    tend_leases(str(directory), me, True)
    assert tend_leases(str(directory), me, False) == []
    assert (directory / "left.lease").stat().st_ino == inode
    with (directory / "left.lease").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert json.loads((directory / "left.holder").read_text())["since"] <= time.time()
    held.release()
    waits.leave()


def test_links_are_not_followed(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("other") / "file"
    target.write_text("")
    target.chmod(0o644)
    (directory / "left.lease").symlink_to(target)
    tend_leases(str(directory), getpass.getuser(), True)
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_directory_that_is_gone_matters_where_instances_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    gone = str(tmp_path / "none")
    assert tend_leases(gone, getpass.getuser(), False) == []
    (programs / "systemctl").write_text("#!/bin/sh\necho 'ollama@coder.service loaded active running Ollama'\n")
    (programs / "systemctl").chmod(0o755)
    assert tend_leases(gone, getpass.getuser(), False) == ["gone"]
