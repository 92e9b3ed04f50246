"""Whose turn it is, from locked files; the other instances are other descriptors, or processes that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.paths import ROOT
from holdfast_onhost.lease import preference
from holdfast_onhost.lease.queueing import Queue
from holdfast_onhost.lease.refusal import Refused

_WAIT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from holdfast_onhost.lease.queueing import Queue
queue = Queue(sys.argv[2], ["gpu0"], "killed")
assert queue.join()
print("joined", flush=True)
time.sleep(600)
"""

# No descriptor is left for the folder; then one is, and none for a waiter's file.
_FULL = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from holdfast_onhost.lease.queueing import Queue
from holdfast_onhost.lease.refusal import Refused
queue = Queue(sys.argv[2], ["gpu0"], "holder")
print([waiter.instance for waiter in queue.waiting()])
free = os.open("/dev/null", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
for _ in range(2):
    try:
        print(queue.waiting())
    except Refused as why:
        print(why)
    os.close(free)
    listdir, os.listdir = os.listdir, lambda place: ["waiter"] if os.open("/dev/null", os.O_RDONLY) else []
"""


def queue(directory: Path, instance: str, *resources: str) -> Queue:
    return Queue(str(directory), resources or ("gpu0",), instance)


def names(one: Queue) -> list[str]:
    return [waiter.instance for waiter in one.waiting()]


def test_first_come_first_served(tmp_path: Path) -> None:
    first, second, holder = (queue(tmp_path, name) for name in ("zoe", "adam", "holder"))
    assert first.join() and second.join()
    assert names(holder) == ["zoe", "adam"]
    assert first.my_turn() and not second.my_turn()
    first.leave()
    assert second.my_turn() and names(holder) == ["adam"]
    assert first.join() and not first.my_turn(), "a new ticket"


def test_one_ticket_for_all_queues(tmp_path: Path) -> None:
    both, left, right = queue(tmp_path, "both", "a", "b"), queue(tmp_path, "left", "a"), queue(tmp_path, "right", "b")
    assert left.join() and both.join() and right.join()
    assert left.my_turn() and not both.my_turn() and not right.my_turn()
    left.leave()
    assert both.my_turn() and not right.my_turn()
    assert names(both) == ["right"] and names(queue(tmp_path, "other", "c")) == []


def test_preferred_instance_goes_first_until_that_expires(tmp_path: Path) -> None:
    first, second = queue(tmp_path, "first"), queue(tmp_path, "second")
    assert first.join() and second.join()
    preference.write(str(tmp_path), "second", 60)
    assert second.preferred and second.my_turn() and not first.my_turn()
    preference.write(str(tmp_path), "second", -1)
    assert first.my_turn() and not second.preferred
    preference.forget(str(tmp_path))
    preference.forget(str(tmp_path))
    assert first.my_turn()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"instance": "second"}', '{"instance": "second", "until": "x"}'])
def test_preference_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "prefer").write_text(text)
    assert preference.read(str(tmp_path)) == ("", 0.0)


def test_preference_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "prefer").symlink_to(victim)
    preference.write(str(tmp_path), "coder", 60)
    assert victim.read_text() == "mine" and preference.read(str(tmp_path))[0] == "coder"
    assert not (tmp_path / "prefer").is_symlink()


def test_killed_waiter_waits_no_more(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", _WAIT, str(ROOT / "src"), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"joined\n"
    other = queue(tmp_path, "other")
    assert names(other) == ["killed"]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (tmp_path / "gpu0.queue" / "killed").exists() and names(other) == []
    assert other.join() and other.my_turn()


def test_own_name_can_be_joined_once_only(tmp_path: Path) -> None:
    old, new = queue(tmp_path, "coder"), queue(tmp_path, "coder")
    assert old.join() and not new.join() and not new.joined
    assert names(new) == ["coder"], "a predecessor that still waits is somebody else"
    old.leave()
    assert new.join()


def test_files_can_be_locked_by_their_owner_only(tmp_path: Path) -> None:
    assert queue(tmp_path, "coder").join() is True
    assert (tmp_path / "gpu0.queue" / "coder").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "gpu0.queue").stat().st_mode & 0o777 == 0o755


def test_unusable_directory_is_named(tmp_path: Path) -> None:
    place = tmp_path / "lease"
    place.write_text("")
    one = queue(place, "coder")
    with pytest.raises(Refused, match=r"gpu0.queue/coder: Not a directory.* Fix: .*df -h"):
        one.join()
    assert not one.joined


def test_queue_that_cannot_be_read_is_an_error_and_not_empty(tmp_path: Path) -> None:
    assert queue(tmp_path, "coder").waiting() == [], "the control: nobody has ever waited"
    (tmp_path / "gpu0.queue").write_text("no folder")
    for ask in (queue(tmp_path, "coder").waiting, queue(tmp_path, "coder").my_turn):
        with pytest.raises(Refused, match=r"cannot read .*gpu0.queue: Not a directory.* Fix: "):
            ask()


def test_too_many_open_files_hide_no_waiter(tmp_path: Path) -> None:
    """For real, in a process that may open no more: neither the folder nor a waiter's file can be opened."""
    assert (waiter := queue(tmp_path, "waiter")).join()
    done = subprocess.run(
        [sys.executable, "-I", "-c", _FULL, str(ROOT / "src"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, *after = done.stdout.splitlines()
    assert before == "['waiter']" and waiter.joined
    assert len(after) == 2 and all("Too many open files" in line and "Fix: " in line for line in after), after


def test_waiter_whose_file_was_removed_waits_no_more_and_can_join_again(tmp_path: Path) -> None:
    one = queue(tmp_path, "coder")
    assert one.join() and one.joined
    shutil.rmtree(tmp_path / "gpu0.queue")
    assert not one.joined and names(queue(tmp_path, "holder")) == []
    assert one.join() and one.joined and names(queue(tmp_path, "holder")) == ["coder"]


def test_nothing_shared_needs_no_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preference.write(str(tmp_path), "coder", 60)
    alone = Queue("", (), "coder")
    assert alone.waiting() == [] and alone.my_turn() and not alone.preferred


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write is made to fail as on a full disk; tests/lease has a real one."""

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", full)
    one = queue(tmp_path, "coder")
    with pytest.raises(Refused, match=r"No space left on device.* Fix: "):
        one.join()
    assert not one.joined
