"""Leases: all or none, and free only when the last process that has one is gone."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from tests.conftest import SOAK

from holdfast.paths import ROOT
from holdfast_onhost.lease import child as child_module
from holdfast_onhost.lease.child import _DIES_WITH_US, Child, socket_path
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.refusal import Refused

# A supervisor in small: takes a lease, starts a child that ignores everything, tells its pid.
_HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from holdfast_onhost.lease.child import Child
from holdfast_onhost.lease.locks import Leases
leases = Leases(sys.argv[2], ["gpu0"], "coder")
assert leases.take()
child = Child("/bin/sleep", ["600"], sys.argv[2] + "/x.sock")
child.start(leases.descriptors)
print(child._process.pid, flush=True)
time.sleep(600)
"""


def leases(directory: Path, instance: str, *resources: str) -> Leases:
    return Leases(str(directory), resources, instance)


def test_all_or_none_in_the_order_of_the_names(tmp_path: Path) -> None:
    both, right = leases(tmp_path, "both", "b", "a"), leases(tmp_path, "right", "b")
    assert both.resources == ("a", "b")
    assert right.take() and not both.take() and both.descriptors == []
    left = leases(tmp_path, "left", "a")
    assert left.take(), "what was taken on the way was given back"
    left.release()
    right.release()
    assert both.take() and not left.take() and not right.take()
    assert json.loads((tmp_path / "a.holder").read_text())["instance"] == "both"
    assert (tmp_path / "a.lease").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a.holder").stat().st_mode & 0o777 == 0o644


def test_nothing_shared_is_had_at_once(tmp_path: Path) -> None:
    assert leases(tmp_path / "nowhere", "coder").take()


def test_killed_supervisor_takes_its_child_along(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-I", "-c", _HOLDER, str(ROOT / "src"), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    other = leases(tmp_path, "other", "gpu0")
    assert "VmSize:" in Path(f"/proc/{child}/status").read_text() and not other.take()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    end = time.monotonic() + 30
    while not other.take():
        assert time.monotonic() < end
        time.sleep(0.002)
    # Who ends gives its memory back before its files (kernel/exit.c: exit_mm, exit_files), and is a zombie a little later.
    try:
        left = Path(f"/proc/{child}/status").read_text()
    except OSError:
        left = ""
    assert "VmSize:" not in left, "free before the child's memory was"


def test_child_has_the_lease_until_it_is_reaped(tmp_path: Path) -> None:
    one, other = leases(tmp_path, "one", "gpu0"), leases(tmp_path, "other", "gpu0")
    assert one.take()
    child = Child("/bin/sleep", ["600"], str(tmp_path / "x.sock"))
    child.start(one.descriptors)
    one.release()
    assert not other.take() and child.ended() is None and not child.ready()
    child.stop()
    assert other.take() and child.ended() is None
    child.stop()


def test_child_of_a_parent_that_is_gone_never_becomes_llama_server(tmp_path: Path) -> None:
    """Killed before the kernel was asked to kill the child with it: here another process is named as its parent."""
    made = tmp_path / "made"
    for parent, there in ((os.getpid() + 1, False), (os.getpid(), True)):
        subprocess.run([*_DIES_WITH_US, str(parent), "/usr/bin/touch", str(made)], check=False)
        assert made.exists() is there


def test_child_that_does_not_end_is_an_error_and_keeps_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that waits in the driver for a lost card; here nobody really kills it."""
    monkeypatch.setattr(child_module, "_END_S", 0.1)
    one, other = leases(tmp_path, "one", "gpu0"), leases(tmp_path, "other", "gpu0")
    assert one.take()
    child = Child("/bin/sleep", ["600"], str(tmp_path / "x.sock"))
    child.start(one.descriptors)
    assert child._process is not None
    with monkeypatch.context() as harmless:
        harmless.setattr(child._process, "kill", lambda: None)
        with pytest.raises(Refused, match=r"was killed and does not end.* Fix: .*xid"):
            child.stop()
    one.release()
    assert not other.take()
    child.stop()
    assert other.take()


def test_lease_file_that_was_removed_is_locked_anew_by_its_holder(tmp_path: Path) -> None:
    one, other = leases(tmp_path, "one", "gpu0", "gpu1"), leases(tmp_path, "other", "gpu1")
    assert one.take() and one.still_ours()
    for path in tmp_path.iterdir():
        path.unlink()
    assert one.still_ours() and not other.take()
    assert json.loads((tmp_path / "gpu1.holder").read_text())["instance"] == "one"
    one.release()
    assert other.take()


def test_lease_file_that_another_one_was_faster_to_lock_is_not_ours(tmp_path: Path) -> None:
    one, other = leases(tmp_path, "one", "gpu0"), leases(tmp_path, "other", "gpu0")
    assert one.take()
    (tmp_path / "gpu0.lease").unlink()
    assert other.take() and other.still_ours() and not one.still_ours()
    other.release()
    assert one.still_ours(), "it is free again"


def test_lease_directory_that_is_gone_can_be_nobody_elses(tmp_path: Path) -> None:
    one = leases(tmp_path / "lease", "one", "gpu0")
    (tmp_path / "lease").mkdir()
    assert one.take()
    shutil.rmtree(tmp_path / "lease")
    assert one.still_ours()
    (tmp_path / "lease").mkdir()
    assert one.still_ours() and not leases(tmp_path / "lease", "other", "gpu0").take()


def test_lease_file_that_is_replaced_while_it_is_locked_is_locked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else removes it between our open and our lock: the lock of a file that has no name guards nothing."""
    path = tmp_path / "gpu0.lease"
    real = fcntl.flock
    removed: list[Path] = []

    def flock(fd: int, how: int) -> None:
        if not removed:
            path.unlink()
            removed.append(path)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    one = leases(tmp_path, "one", "gpu0")
    assert one.take() and removed and one.still_ours()
    assert os.path.samestat(os.fstat(one.descriptors[0]), path.stat())
    assert not leases(tmp_path, "other", "gpu0").take()


def test_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot start /nowhere/llama-server: No such file.* Fix: "):
        Child("/nowhere/llama-server", [], str(tmp_path / "x.sock")).start([])


def test_sockets_of_the_dead_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    folder = tmp_path / "lease"
    folder.mkdir()
    for name in (f"llama-{gone.pid}.sock", "llama-1.sock", "other"):
        (folder / name).touch()
    assert socket_path(str(tmp_path)).startswith(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["llama-1.sock", "other"]
    with pytest.raises(Refused, match="longer than the 107 bytes"):
        socket_path(str(tmp_path / ("x" * 100)))


# One of several processes that hammer the same queues and leases; tells when it had them and how long it waited.
_HAMMER = """
import random, sys, time
sys.path.insert(0, sys.argv[1])
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue
directory, name, seed, turns = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
wants, chance = sys.argv[6:], random.Random(seed)
queue, leases = Queue(directory, wants, name), Leases(directory, wants, name)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(turns):
    began = time.monotonic()
    while not (queue.joined or queue.join()) or not (queue.my_turn() and leases.take()):
        time.sleep(chance.uniform(0, 0.002))
    queue.leave()
    had = time.monotonic()
    while time.monotonic() - had < 0.002 or (not queue.waiting() and time.monotonic() - had < 0.01):
        time.sleep(0.0005)
    assert leases.still_ours()
    print(began, had, time.monotonic(), flush=True)
    leases.release()
"""


def test_nobody_starves_and_no_two_hold_the_same(tmp_path: Path) -> None:
    """Four processes at once over three resources: no two have one at a time, and nobody is passed over.

    Within one wait each of the others has one turn that was before ours in the queue, and one in which it was when we came.
    """
    sets = {"coder": ["a"], "reasoner": ["a", "b"], "painter": ["b", "c"], "all": ["a", "b", "c"]}
    turns = 25 * max(1, SOAK)
    words = [sys.executable, "-I", "-c", _HAMMER, str(ROOT / "src"), str(tmp_path)]
    processes = {
        name: subprocess.Popen(
            [*words, name, str(seed), str(turns), *wants], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for seed, (name, wants) in enumerate(sets.items())
    }
    for process in processes.values():
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    told: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda name=name: told.update({name: processes[name].communicate("go\n")[0]}))
        for name in sets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    had = {name: [tuple(map(float, line.split())) for line in text.splitlines()] for name, text in told.items()}
    assert {name: len(times) for name, times in had.items()} == dict.fromkeys(sets, turns)
    for one, other in combinations(sets, 2):
        if set(sets[one]) & set(sets[other]):
            spans = sorted([(b, c) for _, b, c in had[one]] + [(b, c) for _, b, c in had[other]])
            assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), (one, other)
    # By the clock of this machine, which all of them read; the moment between "began" and the ticket is theirs, too.
    passed = [
        sum(began < first and last < then for _, first, last in had[other])
        for one in sets
        for began, then, _ in had[one]
        for other in sets
        if other != one and set(sets[one]) & set(sets[other])
    ]
    assert max(passed) <= 2, sorted(passed)[-20:]
