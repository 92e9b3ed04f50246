"""A computer that does not do its part: full disks, folders that may not be written, variables with garbage in them."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import test
from holdfast.cli.main import run
from holdfast.paths import ROOT, hosts_file

HOSTS = "gpu-box: {profile: cpu, login_user: ada, tailscale: {enabled: false}}\n"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """hosts.yml, state and cache of the test's own."""
    for name in ("HOLDFAST_SET", "HOLDFAST_CWD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return tmp_path


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """`down` raises ``error``."""

    def behave(args: Any, progress: Any) -> Any:
        raise error

    monkeypatch.setattr(importlib.import_module("holdfast.cli.down"), "run", behave)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_home_that_cannot_be_written_is_an_error_with_a_way_out(
    number: int, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = alone / "state" / "holdfast"
    fails_with(monkeypatch, OSError(number, os.strerror(number), str(place)))
    assert run(["down"]) == 1
    err = capsys.readouterr().err
    assert f"{place} cannot be used: {os.strerror(number)}" in err
    assert (
        err.splitlines()[-1] == f"Fix: let XDG_STATE_HOME name a folder that you may write to (now {alone / 'state'})"
    )
    assert "unexpected" not in err and not (place / "logs" / "fault.log").exists()


def test_a_full_disk_is_no_fault_of_ours_and_other_trouble_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert run(["down"]) == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err and "unexpected" not in err and "Fix: df -h" in err
    fails_with(monkeypatch, OSError(errno.EBADF, "Bad file descriptor"))
    assert run(["down"]) == 1
    assert "unexpected: OSError" in capsys.readouterr().err


def started(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own, as a person starts it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-m", "holdfast", *words]
    return subprocess.run(words, env=env, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("words", [["--version"], ["verify", "--boundaries"], ["verify", "--boundaries", "--json"]])
def test_output_that_cannot_be_written_is_said_and_never_a_traceback(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = started(words, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert "could not be written: No space left on device" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("Fix: ")
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    # The positive control: the same words with somebody to read them.
    assert started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode == 0


def test_errors_that_cannot_be_written_keep_their_exit_code() -> None:
    with open("/dev/full", "w") as full:
        assert started(["upp"], stdout=subprocess.PIPE, stderr=full).returncode == 2
        assert started(["upp", "--json"], stdout=full, stderr=full).returncode == 2


def test_a_closed_output_is_no_fault() -> None:
    done = started(["verify", "--boundaries"], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_lab_rung_without_root_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(test.Climb, "all", lambda *_: pytest.fail("a rung was climbed"))
    assert run(["test", "--rung", "lab"]) == 1
    err = capsys.readouterr().err
    assert "needs root" in err and err.splitlines()[-1].startswith("Fix: sudo ./holdfast test")
    climbed = []
    monkeypatch.setattr(test.Climb, "all", lambda _, chosen: [climbed.append(rung.name) or RUNG for rung in chosen])
    assert run(["test", "--rung", "unit"]) == 0
    assert climbed == ["unit"]


RUNG = {"name": "unit", "seconds": 1.0, "passed": 1, "failed": 0, "skipped": [], "log": ""}


def test_a_relative_hosts_file_is_where_the_person_stands(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "mine").mkdir()
    monkeypatch.setenv("HOLDFAST_HOSTS", "other.yml")
    monkeypatch.setenv("HOLDFAST_CWD", str(alone / "mine"))
    assert hosts_file() == alone / "mine" / "other.yml"
    monkeypatch.delenv("HOLDFAST_CWD")
    monkeypatch.chdir(alone)
    assert hosts_file() == alone / "other.yml"
    monkeypatch.setenv("HOLDFAST_HOSTS", "/etc/hosts.yml")
    assert hosts_file() == Path("/etc/hosts.yml")
    monkeypatch.delenv("HOLDFAST_HOSTS")
    assert hosts_file() == ROOT / "hosts.yml"


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"host": 1, "values": {}}', '{"host": "gpu-box", "values": 3}', "nul\u00e9"]
)
def test_garbage_in_holdfast_set_is_named(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_SET", text)
    assert run(["status", "gpu-box"]) == 2
    err = capsys.readouterr().err
    assert f"HOLDFAST_SET is {text!r}" in err and err.splitlines()[-1].startswith("Fix: unset HOLDFAST_SET")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["plan", "gpu-bix"], "./holdfast plan gpu-box"),
        (["up", "gpu-bix", "--set", "a.b=x y"], "./holdfast up gpu-box --set 'a.b=x y'"),
        (["status", "--json", "gpu-bix"], "./holdfast status --json gpu-box"),
    ],
)
def test_a_name_that_is_nearly_right_gets_the_command_to_type(
    words: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"Fix: {fix}"
    assert "--json" not in words or json.loads(out)["error"]["fix"] == fix


def test_two_hosts_that_are_this_computer_are_one_too_many(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = "{}: {{profile: cpu, login_user: ada, local: true, tailscale: {{enabled: false}}}}\n"
    (alone / "hosts.yml").write_text(one.format("here"))
    assert run(["plan", "gpu-bix"]) == 2, "the control: one is as it should be"
    assert "local" not in capsys.readouterr().err
    (alone / "hosts.yml").write_text(one.format("here") + one.format("there"))
    for words in (["plan", "here"], ["status", "@local"], ["up"]):
        assert run(words) == 2
        err = capsys.readouterr().err
        assert "`local: true` stands in 2 hosts: here, there" in err
        assert "allowed: one host at most" in err and err.splitlines()[-1].startswith("Fix: keep it in one of them")
