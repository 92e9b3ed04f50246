"""`down` leaves this computer as it was: after a whole life, and after `up` was killed in the middle of any step.

The lab is made by these tests alone; one of another rung may live, begin and end meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.lab.holdfast_command import environment

from holdfast.lab import Lab, processes, snapshot, state, tree
from holdfast.lab.layout import Layout

NAME = "cut"
# Runs Lab.up and kills itself (sys.argv[3]: the signal) at a phase, sys.argv[2] seconds after it began.
KILLED = """
import os, signal, sys, threading
from contextlib import contextmanager
from holdfast.lab import Lab
phase, delay, number = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
class Cut:
    @contextmanager
    def phase(self, name):
        if name == phase:
            threading.Timer(delay, os.kill, (os.getpid(), number)).start()
        yield
    def note(self, text): pass
    def bytes(self, *args): pass
Lab("cut").up(Cut())
"""


def up_cut_off(phase: str, delay: float, number: int) -> int:
    """The status of a process that was killed while it made the lab."""
    env = environment()
    argv = [sys.executable, "-c", KILLED, phase, str(delay), str(int(number))]
    return subprocess.run(argv, env=env, capture_output=True, timeout=300, check=False).returncode


def difference(before: snapshot.Snapshot) -> str:
    return "\n".join(snapshot.difference(before, snapshot.take(snapshot.others(NAME))))


@pytest.fixture
def before() -> snapshot.Snapshot:
    Lab(NAME).down()
    taken = snapshot.take(snapshot.others(NAME))
    assert taken["links"], "the snapshot sees links"
    assert taken["routes"], "the snapshot sees routes"
    assert taken["sysctls"], "the snapshot sees sysctls"
    return taken


@pytest.mark.parametrize(
    ("phase", "delay"),
    [
        ("lab: network", 0.05),
        ("lab: network", 0.2),
        ("lab: tree", 0.5),
        ("lab: boot", 0.3),
        ("lab: tailnet", 1.5),
        ("lab: login", 0),
    ],
)
def test_down_after_up_was_killed(before: snapshot.Snapshot, phase: str, delay: float) -> None:
    assert up_cut_off(phase, delay, signal.SIGKILL) == -signal.SIGKILL
    assert difference(before), "a killed start leaves something, and the snapshot sees it"
    assert state.load(NAME) is None, "a half-made lab is none"
    Lab(NAME).down()
    assert difference(before) == ""


# A whole life on a computer that has never seen a lab: a /run of its own, so that not even /run/netns is there.
FIRST = """
import json, subprocess, sys
from holdfast.lab import Lab, processes, snapshot, state
beside = [snapshot.Other(**found) for found in json.loads(sys.argv[2])]  # labs that live in the other /run
lab, before, out = Lab("cut"), snapshot.take(beside), {}
subprocess.run([sys.executable, "-c", sys.argv[1], "lab: tailnet", "0.5", "9"])
killed = state.nonce("cut")
out["left by the killed start"] = len(processes.of_nonce(killed))
made = lab.up()
out["left after the next start"] = len(processes.of_nonce(killed)) * (made.nonce != killed)
out["login"] = lab.ssh(["id", "-un"]).stdout
out["tailnet"] = lab.joined()
out["during"] = snapshot.difference(before, snapshot.take(beside))
lab.down()
out["after"] = snapshot.difference(before, snapshot.take(beside))
print(json.dumps(out))
"""


def test_the_first_lab_of_a_computer_after_a_killed_start(tmp_path: Path) -> None:
    env = environment(XDG_STATE_HOME=str(tmp_path))
    own_run = [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        'mount -t tmpfs tmpfs /run && exec "$@"',
        "sh",
    ]
    argv = [*own_run, sys.executable, "-c", FIRST, KILLED, json.dumps([asdict(found) for found in snapshot.others(NAME)])]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["left by the killed start"] > 0
    assert told["left after the next start"] == 0
    assert told["login"] == "ada\n"
    assert told["tailnet"]["ipv4"] == "", "the workstation has not joined yet"
    during = [line.partition(":")[0] for line in told["during"]]
    for part in ("processes", "namespaces", "mounts", "control groups", "files"):
        assert f"+ {part}" in during, f"the snapshot sees {part}"
    for part in ("links", "addresses", "routes", "rules", "sysctls", "nft"):
        assert f"+ {part}" not in during, "not even while it runs"
    assert "\n".join(told["after"]) == ""
    assert list((tmp_path / "holdfast" / "labs").iterdir()) == []


def test_ctrl_c_leaves_nothing(before: snapshot.Snapshot) -> None:
    assert up_cut_off("lab: boot", 0.5, signal.SIGINT) == -signal.SIGINT
    assert difference(before) == ""


def test_a_second_down_is_harmless(before: snapshot.Snapshot) -> None:
    for _ in range(2):
        Lab(NAME).down()
    assert difference(before) == ""


def test_down_ends_no_process_of_others(before: snapshot.Snapshot) -> None:
    """A pid in the state file that now belongs to someone else is left alone."""
    stranger = subprocess.Popen(["sleep", "60"])
    layout = Layout(NAME)
    layout.folder.mkdir(parents=True, mode=0o700)
    state.write(layout.intent, {"nonce": "0123456789abcdef", "release": "bookworm"})
    mark = {**os.environ, "HOLDFAST_LAB_NONCE": "0123456789abcdef"}
    ours = subprocess.Popen(["sleep", "60"], env=mark)
    another = subprocess.Popen(["sleep", "60"], env={**mark, "HOLDFAST_LAB_NONCE": "fedcba9876543210"})
    gone = state.LabState(
        name=NAME, nonce="0123456789abcdef", release="bookworm", ssh_config="", site={}, namespaces={}, lan={}, tailnet={},
        processes=[processes.Process("machine", stranger.pid, 1)],
    )  # fmt: skip
    state.save(gone)
    try:
        assert state.load(NAME) is None, "same pid, other start: not our machine"
        Lab(NAME).down()
        ours.wait(5)  # its status is lost where `down`, called from its parent, has reaped it already
        assert not Path(f"/proc/{ours.pid}").exists()
        assert stranger.poll() is None
        assert another.poll() is None
    finally:
        for process in (stranger, another):
            process.kill()
            process.wait(5)
    assert difference(before) == ""


def test_a_tree_that_was_never_finished_is_made_again(
    before: snapshot.Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maker is killed while mmdebstrap works: no mount, no process, no half tree under the real name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = (
        "import sys\nfrom pathlib import Path\nfrom holdfast.lab import tree, processes\n"
        "tree.base('bookworm', env=processes.environment('aaaabbbbccccdddd'), log=Path(sys.argv[1]))"
    )
    maker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], env=environment())
    making = tmp_path / "holdfast/trees" / f".making-{tree.cached('bookworm').name}"
    try:
        processes.wait_until("mmdebstrap begins", lambda: (making / "var/lib/dpkg").is_dir(), seconds=60)
    finally:
        maker.kill()
        maker.wait(5)
    left = processes.of_nonce("aaaabbbbccccdddd")
    assert left, "mmdebstrap outlives its parent"
    while left := processes.of_nonce("aaaabbbbccccdddd"):
        processes.kill(left)
    tree.sweep()
    assert not making.exists()
    assert not tree.cached("bookworm").exists()
    assert difference(before) == ""
