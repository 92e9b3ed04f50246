"""The checks of tests/verify that need a card, where a declared one is not there: one sentence each, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.cli import verify
from holdfast.cli.show import Shown
from holdfast.paths import ROOT

sys.path.insert(0, str(ROOT))

from tests.verify.machine import LOOK, Machine

LEFT, RIGHT = "0000:01:00.0", "0000:21:00.0"
CHECKS = {
    "nvidia: declared cards are there", "nvidia: driver has every card", "nvidia: driver is one and new enough",
    "ollama: all of the model is on the cards", "ollama: servers see exactly their cards",
    "speed: models are wholly on their planned cards", "speed: models are as fast as their cards allow",
}  # fmt: skip
TRACEBACK = "Traceback (most recent call last):\n  File \"<string>\", line 1\nConnectionRefusedError: [Errno 111] refused"
# What stands in for pytest's host in a pytest of its own: it answers `id -u` and the looks, and another look ends as on a
# machine without any server.
PLUGIN = """
import json, os, re
from types import SimpleNamespace
import testinfra
LOOKS = json.loads(os.environ["LOOKS"])
def run(command, *words):
    name = re.match(": holdfast verify, look (\\\\w+)", command)
    if name is None:
        return SimpleNamespace(rc=0, stdout="0", stderr="")
    if name[1] not in LOOKS:
        return SimpleNamespace(rc=1, stdout="", stderr=os.environ["TRACEBACK"])
    return SimpleNamespace(rc=0, stdout=json.dumps(LOOKS[name[1]]), stderr="")
testinfra.get_hosts = lambda *words, **given: [SimpleNamespace(run=run)]
"""


def row(address: str) -> dict[str, str]:
    return {"address": address, "uuid": f"GPU-{address}", "driver_version": "580.1"}


@pytest.fixture
def checks(tmp_path: Path) -> Callable[..., verify.Checks]:
    """``checks(cards, smi, problem)``: what the checks that need a card say of a machine that has these."""
    block = {"profile": "dual_3090", "login_user": "ada", "gpus": {"left": LEFT, "right": RIGHT}, "tailscale": {"enabled": False}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"box": block}))
    (tmp_path / "fake_host.py").write_text(PLUGIN)

    def run(cards: list[str], smi: list[str], problem: str = "") -> verify.Checks:
        nvidia = {"cards": dict.fromkeys(cards, "nvidia"), "smi": [row(a) for a in smi], "problem": problem, "module": "580.1"}
        loaded = {"loaded": {"json": {"models": []}}}
        looks = {
            "nvidia": nvidia, "ollama": dict.fromkeys(("coder", "reasoner"), loaded),
            "units": {"units": {f"ollama@{role}.service": {"environment": {}} for role in ("coder", "reasoner")}},
        }  # fmt: skip
        files = [str(ROOT / "tests" / "verify" / f"test_{name}.py") for name in ("nvidia", "ollama", "speed")]
        wanted = "nvidia or speed or on_the_cards or exactly_their_cards"
        read, write = os.pipe()
        subprocess.run(
            [sys.executable, "-m", "pytest", *files, "-q", "-k", wanted, "-p", "no:cacheprovider", f"--rootdir={ROOT}",
             "-p", "holdfast.cli.verify_report", "-p", "fake_host", "--hosts=ssh://box", "--holdfast-host=box"],
            cwd=ROOT, pass_fds=[write], capture_output=True, check=False,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}", "HOLDFAST_HOSTS": str(tmp_path / "hosts.yml"),
                 "HOLDFAST_VERIFY": str(write), "LOOKS": json.dumps(looks), "TRACEBACK": TRACEBACK},
        )  # fmt: skip
        os.close(write)
        with open(read, encoding="utf-8") as lines:
            return verify.collect(lines, Shown())

    return run


def failed(found: verify.Checks) -> dict[str, str]:
    return {failure["name"]: failure["reason"] for failure in found.failures}


def test_on_a_machine_without_a_card_each_says_which_is_not_there(checks: Callable[..., verify.Checks]) -> None:
    found = checks([], [], "nvidia-smi is not installed")
    reasons = failed(found)
    assert reasons.keys() == CHECKS
    (reason,) = set(reasons.values())
    sentence, fix = reason.splitlines()
    assert sentence == (
        f"box has no NVIDIA card at {LEFT} (left), {RIGHT} (right), where hosts.yml declares one; those on its PCI bus: none"
    )
    assert fix.startswith("Fix: correct gpus in hosts.yml") and "require_gpu: false" in fix
    lines = found.lines()
    assert [line for line in lines if "declares" in line] == [f"    {sentence}"], "said once"
    assert lines[-1] == f"{fix}; then run ./holdfast up for this machine again"


def test_with_one_of_two_those_fail_that_need_the_other(checks: Callable[..., verify.Checks]) -> None:
    reasons = failed(checks([LEFT], [LEFT]))
    said = {name for name, reason in reasons.items() if reason.startswith(f"box has no NVIDIA card at {RIGHT} (right), where")}
    assert said >= {"nvidia: declared cards are there", "speed: models are as fast as their cards allow"}
    assert not {"nvidia: driver has every card", "nvidia: driver is one and new enough"} & reasons.keys(), "of those there"
    assert not [reason for reason in reasons.values() if "KeyError" in reason or "Traceback" in reason]


def test_a_card_without_a_driver_is_another_matter(checks: Callable[..., verify.Checks]) -> None:
    found = checks([LEFT, RIGHT], [LEFT], "Unable to determine the device handle")
    reasons = failed(found)
    said = f"the NVIDIA driver on box does not list the card at {RIGHT} (right): Unable to determine the device handle"
    assert reasons["nvidia: driver has every card"].splitlines()[0] == said
    assert "nvidia: declared cards are there" not in reasons
    assert not [reason for reason in reasons.values() if "KeyError" in reason]
    # Where no server is, its look ends in a traceback; the telling line comes first.
    reason = reasons["speed: models are as fast as their cards allow"]
    assert reason.splitlines()[0].endswith("ConnectionRefusedError: [Errno 111] refused")
    assert "; what stays red is a fault" in found.lines()[-1]


def test_the_telling_line_of_a_look_that_ended_badly_comes_first() -> None:
    host = SimpleNamespace(run=lambda *words: SimpleNamespace(rc=1, stdout="", stderr=TRACEBACK))
    with pytest.raises(pytest.fail.Exception, match=r"\Alook/speed.py ended with status 1 .*: ConnectionRefusedError: .*\n"):
        Machine(host).look("speed")


def look(name: str, path: Path, given: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-I", str(LOOK / f"{name}.py"), json.dumps(given)], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": str(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_speed_says_in_a_word_that_nobody_answers(tmp_path: Path) -> None:
    found = look("speed", tmp_path, {"instances": {"coder": ["ollama@coder.service", 1, "m:1", 8, 1]}})
    assert found["coder"]["problem"].startswith("ConnectionRefusedError: ")


@pytest.mark.parametrize(
    ("said", "status"),
    [("No devices were found", 6), ("No devices were found", 0), ("NVIDIA-SMI has failed because it could not. Look: there", 9)],
)
def test_nvidia_takes_no_complaint_for_a_card(said: str, status: int, tmp_path: Path) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n")
    fake.chmod(0o755)
    found = look("nvidia", tmp_path, {})
    assert found["smi"] == [] and found["problem"] == said
