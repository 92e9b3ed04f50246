"""Words to exit codes: errors end in a Fix line, --json is one object and nothing else, no traceback for anybody."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.main import VERBS, build, run
from holdfast.cli.outcome import Outcome
from holdfast.errors import HoldfastError

HOSTS = """
gpu-box:
  profile: dual_3090
  login_user: ada
  gpus: {left: "01:00.0", right: "21:00.0"}
  tailscale: {enabled: false}
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """hosts.yml, state and cache of the test's own."""
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HOLDFAST_SET", raising=False)
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "required"),
        (["upp"], "unknown word 'upp'"),
        (["up", "--wat"], "unknown argument '--wat'"),
        (["up", "nosuch"], "unknown host 'nosuch'"),
        (["plan", "gpu-bx"], "Fix: ./holdfast plan gpu-box"),
        (["verify", "@local"], "no host of hosts.yml says `local: true`"),
        (["status"], "no throw-away machine is running"),
        (["up", "--set", "novalue"], "allowed: path=value"),
        (["plan", "gpu-box", "--set", "instances.coder.context=lots"], "instances.coder.context"),
        (["plan", "gpu-box", "--set", "instanzes.coder.context=1"], "instanzes"),
        (["up", "gpu-box", "--release", "trixie"], "--release is for the throw-away machine only"),
        (["up", "--model", "coder=/nowhere.gguf"], "no file /nowhere.gguf"),
        (["test", "--rung", "top"], "unknown word 'top'"),
        (["init", "Bad Name"], "host name 'Bad Name'"),
        (["init", "lab"], "the throw-away machine's name"),
    ],
)
def test_wrong_words_and_settings_are_code_2_with_a_fix(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert err.splitlines()[-1].startswith("Fix: ")
    assert out == ""
    assert "Traceback" not in err


def test_unknown_hosts_are_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "nosuch", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["allowed"] == "gpu-box"
    assert "allowed: gpu-box" in err


def test_a_wrong_neighbour_in_hosts_yml_stops_every_host(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "hosts.yml").write_text(HOSTS + "other: {profile: nosuch, login_user: ada}\n")
    assert run(["plan", "gpu-box"]) == 2
    assert "other.profile" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches_by_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"./holdfast {verb}" in out
    assert "--json" in out
    assert "exit codes" in out


def test_verbs_that_do_not_exist_yet_are_not_offered() -> None:
    assert set(VERBS) == {"init", "plan", "up", "down", "status", "verify", "depot", "test", "bench"}
    build(None)


def replaced(monkeypatch: pytest.MonkeyPatch, behaviour: Any) -> None:
    """`down` does something else."""
    monkeypatch.setattr(importlib.import_module("holdfast.cli.down"), "run", behaviour)


def test_the_outcome_is_printed_and_its_code_returned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def done(args: Any, progress: Any) -> Outcome:
        with progress.phase("work"):
            progress.note("a note")
        return Outcome({"n": 1}, ["a line [with] brackets"], 3)

    replaced(monkeypatch, done)
    assert run(["down"]) == 3
    assert capsys.readouterr().out == "a line [with] brackets\n"
    assert run(["down", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"n": 1}
    assert out.count("\n") == 1
    assert "a note" in err


def test_interruptions_and_faults(monkeypatch: pytest.MonkeyPatch, alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails_with(error: BaseException) -> Any:
        def behave(args: Any, progress: Any) -> Outcome:
            raise error

        return behave

    replaced(monkeypatch, fails_with(KeyboardInterrupt()))
    assert run(["down"]) == 130
    assert "interrupted" in capsys.readouterr().err
    replaced(monkeypatch, fails_with(HoldfastError("no", fix="do this")))
    assert run(["down"]) == 1
    assert capsys.readouterr().err == "error: no\nFix: do this\n"
    replaced(monkeypatch, fails_with(ZeroDivisionError("by accident")))
    assert run(["down"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by accident" in err
    assert "Traceback" not in err
    log = alone / "state" / "holdfast" / "logs" / "fault.log"
    assert str(log) in err
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("words", [["--json", "depot", "list"], ["depot", "--json", "list"], ["depot", "list", "--json"]])
def test_json_may_stand_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    assert "artifacts" in json.loads(capsys.readouterr().out)
