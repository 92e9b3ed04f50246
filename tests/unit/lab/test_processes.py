from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.lab import processes
from holdfast.lab.processes import Process


def test_a_detached_process_lives_until_it_is_killed(tmp_path: Path) -> None:
    process = processes.start("sleeper", ["sleep", "60"], nonce=f"unit-{os.getpid()}-1", log=tmp_path / "log")
    assert processes.alive(process)
    assert os.getsid(process.pid) == process.pid
    # Not at once: until it is the program that was asked for, it is a copy of this one.
    processes.wait_until("it is found", lambda: processes.of_nonce(f"unit-{os.getpid()}-1") == [process.pid], seconds=5)
    processes.kill([process.pid])
    processes.wait_until("it ends", lambda: not processes.alive(process), seconds=5)
    assert processes.of_nonce(f"unit-{os.getpid()}-1") == []


def test_children_are_found_by_the_nonce_they_inherit(tmp_path: Path) -> None:
    process = processes.start("parent", ["sh", "-c", "sleep 60 & wait"], nonce=f"unit-{os.getpid()}-2", log=tmp_path / "log")
    processes.wait_until("both run", lambda: len(processes.of_nonce(f"unit-{os.getpid()}-2")) == 2, seconds=5)
    os.kill(process.pid, signal.SIGKILL)
    processes.wait_until("the child is left", lambda: len(processes.of_nonce(f"unit-{os.getpid()}-2")) == 1, seconds=5)
    processes.kill(processes.of_nonce(f"unit-{os.getpid()}-2"))
    processes.wait_until("none is left", lambda: not processes.of_nonce(f"unit-{os.getpid()}-2"), seconds=5)
    processes.reap([process.pid])


def test_a_longer_nonce_is_another_nonce(tmp_path: Path) -> None:
    process = processes.start("sleeper", ["sleep", "60"], nonce=f"unit-{os.getpid()}-33", log=tmp_path / "log")
    try:
        processes.wait_until("it is found", lambda: processes.of_nonce(f"unit-{os.getpid()}-33") == [process.pid], seconds=5)
        assert processes.of_nonce(f"unit-{os.getpid()}-3") == []
    finally:
        processes.kill([process.pid])


def test_the_same_pid_with_another_start_is_another_process() -> None:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert processes.alive(Process("me", os.getpid(), ticks))
    assert not processes.alive(Process("me", os.getpid(), ticks + 1))


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    process = processes.start("short", ["true"], nonce="unit-4", log=tmp_path / "log")
    deadline = time.monotonic() + 5
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not processes.alive(process)
    processes.reap([process.pid])
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match="no-such-program"):
        processes.start("x", ["no-such-program"], nonce="unit-5", log=tmp_path / "log")


def test_waiting_ends_with_the_process_and_shows_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = processes.start(
        "server", [sys.executable, "-c", "raise SystemExit('no address')"], nonce="unit-6", log=log
    )
    with pytest.raises(HoldfastError, match="server ended") as error:
        processes.wait_until("it answers", lambda: False, seconds=30, process=process, log=log)
    assert "no address" in str(error.value)


def test_waiting_gives_up() -> None:
    with pytest.raises(HoldfastError, match=r"gave up after 0\.2 s"):
        processes.wait_until("it answers", lambda: False, seconds=0.2)
