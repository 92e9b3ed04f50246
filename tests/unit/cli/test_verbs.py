"""The pure parts of the verbs: findings, diffs, counts, addresses, hosts.yml."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.apply.result import Result
from holdfast.cli import hosts, plan, remote, test_climb, verify
from holdfast.cli.findings import findings
from holdfast.cli.show import Plain
from holdfast.cli.verify_report import name_of
from holdfast.errors import HoldfastError
from holdfast.operations.unit import read_unit
from holdfast.settings.loader import resolve

WELL: dict[str, Any] = {
    "nvidia": {"state": "absent", "findings": [{"message": "no driver", "fix": "install it"}]},
    "units": {"ollama@coder.service": {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}},
    "undeclared": [],
    "models": {"active": "inactive", "models": {"m": {"state": "present", "bytes": 1}}, "undeclared": []},
    "tailnet": {"version": "1", "backend": "Running", "online": True, "problem": ""},
    "room": {"disks": {"/": {"free": 1 << 40, "total": 1 << 41}}},
}


def wrong(changes: dict[str, Any], *, gpu: bool = False, tailnet: bool = True) -> list[str]:
    found = findings("box", {**WELL, **changes}, require_gpu=gpu, tailnet=tailnet)
    assert all(finding.fix for finding in found)
    return [finding.message for finding in found]


def test_a_machine_that_is_well_has_no_findings_and_each_fault_has_one() -> None:
    assert wrong({}) == []
    assert wrong({}, gpu=True) == ["GPU: no driver"]
    unit = WELL["units"]["ollama@coder.service"]
    assert wrong({"units": {"u": {**unit, "UnitFileState": "disabled"}}}) == ["u: will not start at boot (disabled)"]
    assert wrong({"units": {"u": None}}) == ["u: not installed"]
    assert wrong({"models": {"active": "x", "models": {"m": {"state": "absent", "bytes": 0}}}}) == ["model m: absent"]
    assert wrong({"models": None}) == ["nothing of Holdfast is on this machine"]
    off = {"tailnet": {**WELL["tailnet"], "backend": "NeedsLogin"}}
    assert wrong(off) == ["tailnet: NeedsLogin"]
    assert wrong(off, tailnet=False) == []
    assert wrong({"room": {"disks": {"/": {"free": 1 << 20, "total": 1 << 41}}}}) == ["/: 0.0 GiB free"]


def test_a_unit_that_failed_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From what read_unit asks systemd for, and not from more."""
    said = tmp_path / "said"
    said.write_text("LoadState=loaded\nActiveState=failed\nResult=exit-code\nUnitFileState=enabled\nMainPID=0\n")
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\nIFS=,; for key in $3; do grep "^$key=" {said}; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert wrong({"units": {"u": read_unit("u")}}) == ["u: failed (exit-code)"]


def test_an_instance_that_nobody_declared_is_told() -> None:
    assert wrong({"undeclared": ["old"]}) == ["ollama@old.service: no instance of that name is declared"]
    trial = "ollama@next.old.service: the trial of old's next model, by an apply that runs or was cut off"
    assert wrong({"undeclared": ["next.old"]}) == [trial]


def test_a_plan_shows_a_diff_and_never_a_secret() -> None:
    open_file = {
        "path": "/etc/x",
        "secret": False,
        "before": "a\nb\n",
        "after": "a\nc\n",
        "attributes": {"mode": ["644", "600"]},
    }
    text = "\n".join(plan.shown(open_file))
    assert "/etc/x: mode 644 -> 600" in text
    assert "\n-b\n+c" in text
    secret = {**open_file, "secret": True, "before": "Canary", "after": "Canary2"}
    assert "Canary" not in "\n".join(plan.shown(secret))


def test_only_a_throw_away_machine_has_models_whose_words_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.lab import state

    monkeypatch.setattr(state, "running", lambda: [SimpleNamespace(name="lab", models={"coder": "hello"})])
    assert verify.expected("lab") == {"coder": "hello"}
    # No lab can be called so.
    assert verify.expected("gpu-box") == {}


def test_a_plan_ends_with_what_would_stop_the_apply() -> None:
    stop = HoldfastError("no hash", where="lock", allowed="one", fix="compute it")
    found = plan.outcome("box", Result(pending=["A | one"], operations=2, stops=[stop]))
    assert found.code == 3
    assert found.data["stops"] == [{"message": "no hash", "where": "lock", "allowed": "one", "fix": "compute it"}]
    assert found.lines[0] == "would change: A | one"
    assert "up box" not in found.lines[1]
    assert found.lines[2] == "an apply stops here: no hash\n  at: lock\n  allowed: one\nFix: compute it"
    # Also of a machine on which nothing is pending; and without one all is as ever.
    assert plan.outcome("box", Result(operations=2, stops=[stop])).code == 3
    assert "as described" not in "".join(plan.outcome("box", Result(operations=2, stops=[stop])).lines)
    assert plan.outcome("box", Result(operations=2)).code == 0
    assert "./holdfast up box" in plan.outcome("box", Result(pending=["A | one"], operations=2)).lines[-1]


@pytest.mark.parametrize(
    ("text", "status", "passed", "failed"),
    [
        ("....\n3 passed, 1 skipped in 0.51s\n", 0, 3, 0),
        ("F\n1 failed, 2 passed in 3.00s\n", 1, 2, 1),
        ("1 failed, 2 passed, 3 errors in 61.00s (0:01:01)\n", 1, 2, 4),
        ("no tests ran in 0.01s\n", 5, 0, 1),
        ("INTERNALERROR> …\n", 3, 0, 1),
        ("", -9, 0, 1),
    ],
)
def test_what_pytest_says_is_counted_and_its_silence_is_red(text: str, status: int, passed: int, failed: int) -> None:
    assert test_climb.counts(text, status, is_pytest=True) == {"passed": passed, "failed": failed}


def test_no_test_is_no_failure_only_where_a_person_chose_among_them() -> None:
    assert test_climb.counts("no tests ran in 0.01s\n", 5, is_pytest=True, words=True) == {"passed": 0, "failed": 0}
    assert test_climb.counts("1 failed in 1s\n", 1, is_pytest=True, words=True) == {"passed": 0, "failed": 1}


def test_a_tool_is_one_test() -> None:
    assert test_climb.counts("", 0, is_pytest=False) == {"passed": 1, "failed": 0}
    assert test_climb.counts("All checks passed!", 1, is_pytest=False) == {"passed": 0, "failed": 1}


def test_the_tests_see_nobodys_hosts_yml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SET", "{}")
    env = test_climb.environment(20)
    assert "HOLDFAST_SET" not in env
    assert not Path(env["HOLDFAST_HOSTS"]).exists()
    assert env["HOLDFAST_SOAK"] == "20"


def site(**more: Any) -> Any:
    return resolve({"name": "box", "profile": "cpu", "login_user": "ada", "tailscale": {"enabled": False}, **more})


def test_how_a_machine_is_reached() -> None:
    ws = site(ssh={"hostname": "192.168.1.20", "user": "ada", "port": 2222})
    assert remote.ssh_words(ws)[-5:] == ["-p", "2222", "-l", "ada", "192.168.1.20"]
    assert ws.login == "ssh -p 2222 ada@192.168.1.20"
    assert verify.where(ws, True) == ["--hosts=ssh://ada@192.168.1.20:2222?sudo=true"]
    assert verify.where(site(), False) == ["--hosts=ssh://box"]
    assert verify.where(site(local=True), True) == ["--hosts=local://?sudo=true"]
    lab = site(ssh={"config_file": "/s/ssh_config"})
    assert remote.ssh_words(lab)[:5] == ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    assert remote.ssh_words(lab)[5:7] == ["-F", "/s/ssh_config"]


def test_set_reads_values_as_yaml() -> None:
    assert hosts.overrides(["require_gpu=true", "a.b=8192", "c=[x, y]", "d=a=b"]) == {
        "require_gpu": True, "a.b": 8192, "c": ["x", "y"], "d": "a=b",
    }  # fmt: skip


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"event": kind, **fields}) + "\n"


def test_results_of_checks_are_collected() -> None:
    lines = [
        event("collected", of=4), event("begin", name="a"), event("result", name="a", outcome="passed"),
        event("result", name="b", outcome="skipped", reason="no card"), event("result", name="c", outcome="failed", reason="r"),
        event("result", name="c", outcome="failed", reason="and its teardown"),
    ]  # fmt: skip
    out = io.StringIO()
    checks = verify.collect(lines, Plain(out, every_s=0))
    assert (checks.passed, checks.failed, checks.skipped) == (1, 1, [{"name": "b", "reason": "no card"}])
    assert "1/4 a" in out.getvalue()
    assert name_of("tests/verify/test_ollama.py::test_loopback_only[coder]") == "ollama: loopback only [coder]"


def test_plain_progress_keeps_seconds_and_says_when_a_phase_failed() -> None:
    out = io.StringIO()
    progress = Plain(out)
    with progress.phase("outer"):
        progress.step(1, 2, "hidden: too soon")
        with pytest.raises(KeyError), progress.phase("inner"):
            raise KeyError
    assert set(progress.seconds) == {"outer", "inner"}
    assert out.getvalue().splitlines()[:2] == ["outer ...", "  inner ..."]
    assert "inner: failed after 0.0 s" in out.getvalue()
    assert "hidden" not in out.getvalue()
