"""Groups come and go while they are looked through: a login of a moment ago is a folder that is no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.lab import cgroups


def test_a_group_that_goes_while_it_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("payload/init.scope", "payload/user.slice/session-1.scope", "supervisor"):
        group = tmp_path / "hf-x" / name
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text("41\n42\n" if name == "supervisor" else "7\n")
    monkeypatch.setattr(cgroups, "folders", lambda name: [tmp_path / name])
    assert cgroups.members("hf-x") == [7, 41, 42]

    gone = tmp_path / "hf-x" / "payload" / "user.slice" / "session-1.scope"
    scandir = os.scandir

    def late(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path) == str(gone) and gone.is_dir():
            (gone / "cgroup.procs").unlink()
            gone.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert cgroups.members("hf-x") == [7, 41, 42]
    assert not gone.exists(), "it went in the middle"
    assert cgroups.members("nobody") == []
