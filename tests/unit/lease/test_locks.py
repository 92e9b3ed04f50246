"""Leases: all or none, and free only when the last process that has one is gone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import SOAK

from holdfast.paths import ROOT
from holdfast_onhost.lease.child import Child, socket_path
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue
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
    assert Path(f"/proc/{child}").exists() and not other.take()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    end = time.monotonic() + 30
    while not other.take():
        assert time.monotonic() < end
        time.sleep(0.002)
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text(), "free before the child was gone"


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


def test_nobody_starves_and_no_two_hold_the_same(tmp_path: Path) -> None:
    """Random turns of four instances over three resources: every wait ends."""
    chance = random.Random(7)
    sets = {"coder": ["a"], "reasoner": ["a", "b"], "painter": ["b", "c"], "all": ["a", "b", "c"]}
    queues = {name: Queue(str(tmp_path), wants, name) for name, wants in sets.items()}
    held = {name: Leases(str(tmp_path), wants, name) for name, wants in sets.items()}
    served = dict.fromkeys(sets, 0)
    waits = dict.fromkeys(sets, 0)
    for _ in range(1500 * max(1, SOAK)):
        name = chance.choice(list(sets))
        queue, mine = queues[name], held[name]
        if mine.descriptors:
            if queue.waiting() or chance.random() < 0.1:
                mine.release()
        elif not queue.joined:
            assert queue.join()
        elif queue.my_turn() and mine.take():
            queue.leave()
            served[name] += 1
            waits[name] = 0
            busy = [r for n, lease in held.items() if lease.descriptors for r in sets[n]]
            assert len(busy) == len(set(busy))
        else:
            waits[name] += 1
            assert waits[name] < 100, f"{name} waits for ever"
    assert min(served.values()) > 0.8 * max(served.values()), served
