"""Files and folders: what is read, what is written, and what a plan may show."""

from __future__ import annotations

import getpass
import grp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.operations.place import (
    Absent,
    Directory,
    Entry,
    File,
    Link,
    differing,
    payload,
    read_paths,
    write_entries,
)
from holdfast.operations.remote import program

ME = {"user": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}


def entries(root: Path) -> list[Entry]:
    return [
        Directory(f"{root}/etc", mode="750", **ME),
        File(f"{root}/etc/secret", "canary\n", mode="600", secret=True, **ME),
        File(f"{root}/etc/bytes", b"\0\xff", **ME),
        Link(f"{root}/etc/link", "secret"),
        Absent(f"{root}/etc/old"),
    ]


def read(wanted: list[Entry]) -> Any:
    return read_paths([e.path for e in wanted], [])


def test_written_once_then_nothing_differs(tmp_path: Path) -> None:
    wanted = entries(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "old").write_text("x")
    assert len(differing(wanted, read(wanted))) == 5
    write_entries([payload(e) for e in wanted])
    assert differing(wanted, read(wanted)) == []
    assert (tmp_path / "etc" / "secret").stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in (tmp_path / "etc").iterdir()) == ["bytes", "link", "secret"]


@pytest.mark.parametrize("drift", ["mode", "content", "kind", "gone", "target"])
def test_every_kind_of_drift_is_seen_and_put_right(tmp_path: Path, drift: str) -> None:
    wanted = entries(tmp_path)
    write_entries([payload(e) for e in wanted])
    secret, link = tmp_path / "etc" / "secret", tmp_path / "etc" / "link"
    if drift == "mode":
        secret.chmod(0o644)
    elif drift == "content":
        secret.write_text("other")
    elif drift == "kind":
        secret.unlink()
        secret.mkdir()
    elif drift == "gone":
        secret.unlink()
    else:
        link.unlink()
        link.symlink_to("/etc/passwd")
    changed = differing(wanted, read(wanted))
    assert [Path(e.path).name for e in changed] == (["link"] if drift == "target" else ["secret"])
    write_entries([payload(e) for e in changed])
    assert differing(wanted, read(wanted)) == []


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file").symlink_to(victim)
    write_entries([payload(File(f"{tmp_path}/file", "ours", **ME))])
    assert victim.read_text() == "mine" and (tmp_path / "file").read_text() == "ours"


def test_the_program_runs_alone_as_on_a_host(tmp_path: Path) -> None:
    wanted = entries(tmp_path)
    source = program(write_entries, entries=[payload(e) for e in wanted])
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, text=True, capture_output=True, check=True)
    assert json.loads(done.stdout) == 5
    source = program(read_paths, paths=[e.path for e in wanted], contents=[])
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, text=True, capture_output=True, check=True)
    assert differing(wanted, json.loads(done.stdout)) == []


def test_a_bare_machine_differs_in_everything_but_what_is_absent(tmp_path: Path) -> None:
    assert len(differing(entries(tmp_path), None)) == 4


def test_content_is_given_back_only_for_what_was_asked(tmp_path: Path) -> None:
    wanted = entries(tmp_path)
    write_entries([payload(e) for e in wanted])
    asked = f"{tmp_path}/etc/bytes"
    found = read_paths([e.path for e in wanted], [asked])
    assert "content" in found[asked]
    assert "content" not in found[f"{tmp_path}/etc/secret"]
