"""Events, pyinfra's JSON and its silences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.apply import run as runner
from holdfast.apply.result import failure, read_result, telling
from holdfast.errors import HoldfastError

LOG = Path("/nowhere/up.log")


class Told:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []
        self.notes: list[str] = []

    def phase(self, name: str) -> Any:
        raise AssertionError(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def bytes(self, done: int, total: int | None, label: str) -> None:
        self.notes.append(f"{label} {done}/{total}")

    def step(self, n: int, of: int, label: str) -> None:
        self.steps.append((n, of, label))


def results(**totals: int) -> dict[str, Any]:
    ops = [{"name": "A | one", "names": ["A | one"], "success": ["h"] if totals.get("success") else [], "error": []}]
    return {"operations": ops, "totals": {"hosts": 1, "success": 0, "error": 0, **totals}, "failed_hosts": []}


def document(plan: list[Any], found: Any) -> str:
    return json.dumps({"plan": plan, "results": found})


def test_a_run_with_changes_and_one_without() -> None:
    assert read_result(document([], results(success=1)), "h", LOG).changed == ["A | one"]
    assert read_result(document([], results()), "h", LOG).changed == []


def test_a_dry_run_names_what_is_pending_and_ignores_conditional_ones() -> None:
    plan = [
        {"name": "A | one", "hosts_with_change": ["h"], "hosts_with_conditional_change": []},
        {"name": "A | two", "hosts_with_change": [], "hosts_with_conditional_change": ["h"]},
    ]
    assert read_result(document(plan, None), "h", LOG).pending == ["A | one"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "(it said nothing)"),
        ("{}", "(it said nothing)"),
        ("Exiting upon user request!\n", "(it said nothing)"),
        (document([], results(hosts=0)), "found nothing to do"),
        (document([], None), "found nothing to do"),
        (document([], results(error=1)), "ended with status 0"),
    ],
)
def test_no_silence_of_pyinfra_is_taken_for_success(text: str, words: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        read_result(text, "h", LOG)
    assert words in caught.value.message
    assert caught.value.fix


def test_the_telling_lines_are_those_of_the_last_operation() -> None:
    said = ["--> Starting operation: A", "fine", "--> Starting operation: B", "  broken", "", "--> Disconnecting from hosts..."]
    assert telling(said) == ["--> Starting operation: B", "  broken"]


def test_lines_that_are_no_events_are_skipped() -> None:
    lines = ['{"event": "note", "text": "a"}\n', "{cut", "[1]\n", '{"no": 1}\n', '{"event": 3}\n']
    assert [event["text"] for event in runner.parse_events(lines)] == ["a"]


def test_events_become_steps_seconds_and_errors() -> None:
    told, run, written = Told(), runner.Run(), []
    events: list[dict[str, Any]] = [
        {"event": "operation", "n": 1, "of": 2, "name": "Ollama | Run"},
        {"event": "operation_end", "name": "Ollama | Run", "changed": True, "seconds": 1.5},
        {"event": "operation_end", "name": "Ollama | Wait", "changed": False, "seconds": 0.5},
        {"event": "error", "host": "h", "message": "no", "fix": "do"},
        {"event": "stop", "host": "h", "message": "not yet", "where": "w", "allowed": "", "fix": "do"},
        {"event": "stop", "host": "h", "message": "not yet", "where": "w", "allowed": "", "fix": "do"},
        {"event": "stop", "host": "h", "message": "not yet", "where": "v", "allowed": "", "fix": "do"},
        {"event": "sudo_password", "user": "ada", "host": "h", "again": False},
        {"event": "diff", "path": "/x"},
    ]
    for event in events:
        runner.handle(event, run, told, lambda user, host, again: f"{user}@{host}", written.append, lambda: None)
    assert told.steps == [(1, 2, "Ollama | Run")]
    assert run.seconds == {"Ollama": 2.0}
    assert [error.fix for error in run.errors] == ["do"]
    assert [(stop.message, stop.where) for stop in run.stops] == [("not yet", "w"), ("not yet", "v")], "each once"
    assert written == ["ada@h\n"]
    assert run.diffs == [{"event": "diff", "path": "/x"}]


def test_the_subprocess_never_inherits_the_mark_of_an_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_APPLY", "outer")
    monkeypatch.setenv("HOLDFAST_OTHER", "kept")
    env = runner.environment("h", {"require_gpu": True}, 7, 8, diff=False)
    assert "HOLDFAST_APPLY" not in env
    assert env["HOLDFAST_OTHER"] == "kept"
    assert json.loads(env["HOLDFAST_SET"]) == {"host": "h", "values": {"require_gpu": True}}


def test_only_a_plan_is_told_files_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def start(words: list[str], *, env: dict[str, str], **more: Any) -> None:
        seen.append(env["HOLDFAST_DIFF"])
        raise InterruptedError

    monkeypatch.setenv("HOLDFAST_DIFF", "1")
    monkeypatch.setattr(runner.subprocess, "Popen", start)
    for verb in (runner.plan, runner.apply):
        with pytest.raises(InterruptedError):
            verb("h", log=tmp_path / "log")
    assert seen == ["1", "0"]


def test_the_cause_of_a_failed_connection_is_told_without_a_stack() -> None:
    said = [
        "--> Connecting to hosts...",
        "Exception (client): Error reading SSH protocol banner",
        "Traceback (most recent call last):",
        '  File "transport.py", line 1, in run',
        "    raise EOFError()",
        "EOFError",
        "",
        "During handling of the above exception, another exception occurred:",
        "Traceback (most recent call last):",
        '  File "transport.py", line 2, in run',
        "paramiko.ssh_exception.SSHException: Error reading SSH protocol banner",
        "    [box]  Could not connect: 127.0.0.1",
        "--> Disconnecting from hosts...",
        "--> pyinfra error: No hosts remaining!",
    ]
    kept = telling(said)
    assert "    [box]  Could not connect: 127.0.0.1" in kept
    assert not [line for line in kept if "Traceback" in line or "File " in line]


@pytest.mark.parametrize(
    ("error", "limited"),
    [("ChannelException(2, 'Connect failed')", True), ("SSHException(Timeout opening channel.)", False)],
)
def test_a_session_that_sshd_refuses_is_a_setting_of_its(
    error: str, limited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What paramiko says to OpenSSH 9.2 with MaxSessions 3 (tried), where pyinfra runs a command beside two others."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told = failure("box", 1, f"--> Starting operation: A\n    [box] Command socket/SSH error: {error}\n", LOG, [], "A")
    assert error in told.message and ("MaxSessions" in told.fix) == limited
