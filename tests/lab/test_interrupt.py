"""An apply that is ended in the middle: Ctrl-C, a kill that nobody can catch, and a second operator meanwhile.

The middle is `systemctl start ollama@coder.service`, which is made to take minutes by a drop-in in /run.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.waiting import until

from holdfast.paths import ROOT

from .holdfast_command import as_json, environment, holdfast, marked, words

_SLOW = """
mkdir -p /run/systemd/system/ollama@coder.service.d
printf '[Service]\\nExecStartPre=/bin/sleep 300\\n' >/run/systemd/system/ollama@coder.service.d/slow.conf
systemctl daemon-reload
systemctl stop ollama@coder.service
"""
_FAST = """
rm -rf /run/systemd/system/ollama@coder.service.d
systemctl daemon-reload
systemctl stop ollama@coder.service
systemctl reset-failed ollama@coder.service || true
"""


def is_free(workstation: Any) -> bool:
    return "free" in workstation.root("flock -n /run/holdfast-apply.lock echo free || true")


@pytest.fixture
def running(workstation: Any) -> Iterator[subprocess.Popen[str]]:
    """`up`, caught in the middle of a command on the machine."""
    workstation.root(_SLOW)
    up = subprocess.Popen(
        words("up", workstation.name, "--no-verify"), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        there = "pgrep -af 'systemctl start ollama@coder' || true"
        until(lambda: "start" in workstation.root(there), "up never came there", 120)
        yield up
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait()
        workstation.root(_FAST)


def test_ctrl_c_leaves_nothing_running_and_exits_130(workstation: Any, running: subprocess.Popen[str]) -> None:
    assert marked(workstation), "the control: there is something to be ended"
    assert not is_free(workstation)
    # To up alone, as `kill -INT` does; in a terminal its child is in a group of its own and gets none either.
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert marked(workstation) == []
    assert is_free(workstation)
    assert said.splitlines()[-1].startswith("Fix: ")
    assert "Traceback" not in said


def test_a_second_operator_is_told_and_a_kill_leaves_nothing_running_either(
    workstation: Any, running: subprocess.Popen[str]
) -> None:
    before = marked(workstation)
    second = holdfast("up", workstation.name, "--no-verify")
    assert second.returncode == 1
    assert f"{workstation.name} is held by " in second.stderr
    assert " since 20" in second.stderr
    assert second.stderr.splitlines()[-1].startswith("Fix: wait")
    assert running.poll() is None
    assert set(before) & set(marked(workstation)), "the first one goes on"
    running.kill()
    running.wait()
    until(lambda: marked(workstation) == [], "what ran on the machine still runs", 30)
    until(lambda: is_free(workstation), "the lock is still held", 30)


def test_after_all_that_the_next_one_makes_the_machine_right(workstation: Any) -> None:
    changes = []
    for _ in range(2):
        done = holdfast("up", workstation.name, "--no-verify", "--json")
        assert done.returncode == 0, done.stderr
        changes.append(as_json(done)["changes"])
    assert changes[0] > 0 and changes[1] == 0, changes
    assert marked(workstation) == []
