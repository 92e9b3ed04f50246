"""`up`, `plan`, `status` and `verify` on a machine that is as it should be, and settings that cannot be."""

from __future__ import annotations

import json

from holdfast.lab import Lab

from .holdfast_command import as_json, holdfast, pyinfra


def test_a_second_up_changes_nothing_and_says_everything(workstation: Lab) -> None:
    done = holdfast("up", workstation.name, "--json", "--no-verify")  # the checks: test_first_up, test_sabotage
    found = as_json(done)
    assert done.returncode == 0, done.stderr
    assert found["changes"] == 0
    assert found["verify"] is None
    assert {i["name"]: i["url"] for i in found["instances"]} == {
        "coder": "http://127.0.0.1:11434", "reasoner": "http://127.0.0.1:11435",
    }  # fmt: skip
    assert found["host"]["tailnet"]["ipv4"].startswith("100.")
    assert found["open_webui"]["url"].endswith(f"://{found['host']['tailnet']['name']}")
    assert {"apply", "answers", "apply: Ollama"} <= set(found["seconds"])
    assert "apply ..." in done.stderr, "progress goes to stderr"


def test_plan_has_nothing_to_say_then_and_says_what_is_pending_otherwise(workstation: Lab) -> None:
    done = holdfast("plan", workstation.name, "--json")
    assert (done.returncode, as_json(done)["pending"]) == (0, [])
    other = holdfast("plan", workstation.name, "--set", "instances.coder.context=4096")
    assert other.returncode == 3, other.stderr
    assert "4096" in other.stdout
    assert "would change" in other.stdout


def test_plain_pyinfra_sees_the_same(workstation: Lab) -> None:
    done = pyinfra(workstation.name, "-y", "--json")
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)["results"]["totals"]
    assert totals["hosts"] > 0
    assert (totals["success"], totals["error"]) == (0, 0)


def test_status_finds_nothing_wrong_and_then_what_was_stopped(workstation: Lab) -> None:
    done = holdfast("status", workstation.name, "--json")
    assert (done.returncode, as_json(done)["findings"]) == (0, [])
    try:
        workstation.ssh(["sudo", "systemctl", "stop", "ollama@coder.service"])
        done = holdfast("status", workstation.name)
        assert done.returncode == 1
        assert "ollama@coder.service: inactive" in done.stdout
        assert "Fix:" in done.stdout
    finally:
        holdfast("up", workstation.name, "--no-verify")


def test_cards_that_are_required_and_missing_stop_the_apply(workstation: Lab) -> None:
    done = holdfast("up", workstation.name, "--set", "require_gpu=true")
    assert done.returncode == 1
    assert "01:00.0" in done.stderr
    assert "21:00.0" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Fix: ")
    assert as_json(holdfast("plan", workstation.name, "--json"))["pending"] == [], "nothing was changed"


def test_an_unknown_host_is_answered_with_the_known_ones(workstation: Lab) -> None:
    done = holdfast("up", "gpu-bax")
    assert done.returncode == 2
    assert workstation.name in done.stderr
