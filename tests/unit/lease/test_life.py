"""A supervisor's whole life as a process of its own, with a program that stands for llama-server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.waiting import until

from holdfast.paths import ROOT
from holdfast_onhost.lease.life import Supervisor
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.settings import Settings
from holdfast_onhost.lease.states import State

PROGRAM = ROOT / "src" / "holdfast_onhost" / "lease" / "supervisor.py"
FAKE = Path(__file__).with_name("fake_llama_server.py")


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    return False


class Instance:
    """The supervisor of the coder; we are its Ollama, and `other` is another instance that wants the same card."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "llama-server"
        self.program.write_text(f"#!{sys.executable} -IS\n{FAKE.read_text()}")
        self.program.chmod(0o755)
        self.tell("")
        (folder / "lease").mkdir()
        self.port = free_port()
        self.argv = ["--model", "m", "--port", str(self.port), "--host", "127.0.0.1", "-c", "512", "-np", "1"]
        self.environment = {
            "HOLDFAST_LEASE_DIR": str(folder / "lease"), "HOLDFAST_LEASE": "gpu0", "HOLDFAST_INSTANCE": "coder",
            "HOLDFAST_LEASE_MIN_HOLD_S": "0", "HOLDFAST_LLAMA_SERVER": str(self.program), "HOME": str(folder / "home"),
            "PATH": os.defpath,
        }  # fmt: skip
        self.queue = Queue(str(folder / "lease"), ["gpu0"], "other")
        self.leases = Leases(str(folder / "lease"), ["gpu0"], "other")
        self.process: subprocess.Popen[str] | None = None

    def tell(self, words: str) -> None:
        (self.folder / "told").write_text(words)

    def start(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-IS", str(PROGRAM), *self.argv], env=self.environment | environment,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def said(self) -> str:
        """All of it, once the supervisor has ended."""
        assert self.process is not None
        return self.process.communicate(timeout=30)[1]

    def ask(self, path: str = "/completion") -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        link.request("POST", path, b"{}")
        answer = link.getresponse()
        return answer.status, answer.read().decode()

    def loaded(self) -> None:
        def well() -> bool:
            with contextlib.suppress(OSError):
                return self.ask("/health")[0] == 200
            return False

        until(well)

    @property
    def starts(self) -> list[int]:
        path = self.folder / "starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def take_over(self) -> None:
        """The other one waits until it has the card."""
        assert self.queue.join()
        until(self.leases.take)
        self.queue.leave()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()
        assert made.process.stderr is not None
        made.process.stderr.close()
    until(lambda: not any(map(alive, made.starts)))


def test_turns(instance: Instance) -> None:
    """Loads for Ollama, gives way to who waits, and comes back for a request; the child is gone before the lease is free."""
    instance.start()
    instance.loaded()
    assert instance.ask() == (200, "hi") and not instance.leases.take()
    instance.take_over()
    assert not alive(instance.starts[0]) and instance.ask("/health")[0] == 200
    answers: list[tuple[int, str]] = []
    client = threading.Thread(target=lambda: answers.append(instance.ask()))
    client.start()
    until(lambda: [w.instance for w in instance.queue.waiting()] == ["coder"])
    assert len(instance.starts) == 1 and not answers
    instance.leases.release()
    client.join(30)
    assert answers == [(200, "hi")] and len(instance.starts) == 2


def test_client_that_leaves_leaves_no_waiter(instance: Instance) -> None:
    instance.start()
    instance.loaded()
    instance.take_over()
    with socket.create_connection(("127.0.0.1", instance.port)) as link:
        link.sendall(b"POST /completion HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        until(instance.queue.waiting)
    until(lambda: not instance.queue.waiting())
    instance.leases.release()
    assert len(instance.starts) == 1


def test_first_load_that_ends_badly_ends_the_supervisor_with_its_status(instance: Instance) -> None:
    instance.tell("exit")
    instance.start()
    instance.said()
    assert instance.process is not None and instance.process.returncode == 3
    assert instance.leases.take()


def test_later_load_that_ends_badly_is_told_to_its_clients_and_the_next_one_is_tried(instance: Instance) -> None:
    instance.start()
    instance.loaded()
    instance.take_over()
    instance.leases.release()
    instance.tell("exit")
    status, text = instance.ask()
    assert status == 500 and "ended by itself with status 3 while it loaded. Fix: " in text
    assert instance.leases.take(), "nothing of it is left"
    instance.leases.release()
    instance.tell("")
    assert instance.ask() == (200, "hi")


@pytest.mark.parametrize("first", [True, False], ids=["first load", "later"])
def test_load_that_never_ends_is_given_up(first: bool, instance: Instance) -> None:
    """The hung llama-server is gone, the lease is free, who waits is told; and when the cause is gone, it works again."""
    if not first:
        instance.start(HOLDFAST_LOAD_LIMIT_S="3")
        instance.loaded()
        instance.take_over()
        instance.leases.release()
    instance.tell("hang")
    if first:
        instance.start(HOLDFAST_LOAD_LIMIT_S="3")
        text = instance.said()
        assert instance.process is not None and instance.process.returncode == 1
    else:
        status, text = instance.ask()
        assert status == 500
    assert "has not loaded its model within 3 s" in text and "Fix: " in text and "xid" in text
    assert not any(map(alive, instance.starts)) and instance.leases.take()
    instance.leases.release()
    if not first:
        instance.tell("")
        assert instance.ask() == (200, "hi")


def test_crash_is_loaded_again_for_who_asks(instance: Instance) -> None:
    instance.start()
    instance.loaded()
    instance.tell("crash")
    with pytest.raises((OSError, http.client.HTTPException)):
        instance.ask()
    until(lambda: not Path(f"/proc/{instance.starts[0]}").exists())  # reaped: it has been noticed
    instance.tell("")
    assert instance.ask() == (200, "hi") and len(instance.starts) == 2


def test_child_has_the_cards_of_the_unit_and_not_those_that_ollama_chose(instance: Instance) -> None:
    instance.start(CUDA_VISIBLE_DEVICES="GPU-b", HOLDFAST_GPUS="GPU-a,GPU-b")
    instance.loaded()
    assert json.loads((instance.folder / "seen").read_text())["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_lease_directory_that_is_made_anew_does_not_make_two_holders(instance: Instance) -> None:
    """rm -rf under an idle holder; whoever comes next still waits for it, and gets its turn."""
    instance.start()
    instance.loaded()
    assert instance.ask() == (200, "hi")
    shutil.rmtree(instance.folder / "lease")
    (instance.folder / "lease").mkdir()
    until((instance.folder / "lease" / "gpu0.lease").exists)
    assert alive(instance.starts[0]) and not instance.leases.take()
    instance.take_over()
    assert not alive(instance.starts[0])


@pytest.fixture
def still(instance: Instance) -> Iterator[Supervisor]:
    """A supervisor in this process whose main loop does not run."""
    made = Supervisor(Settings.read(instance.environment), instance.argv)
    yield made
    made.relay.door.close()


def test_queue_that_cannot_be_read_may_have_somebody_in_it(
    still: Supervisor, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert still.leases.take() and still._who_waits() == [], "the control"
    (instance.folder / "lease" / "gpu0.queue").write_text("")
    still.loaded_at = still.gate.loaded() - 60
    for _ in range(2):
        waiting = still._who_waits()
        assert len(waiting) == 1 and still._view(waiting).contended
    assert capsys.readouterr().err.count("cannot read") == 1, "said once"


def test_holder_gives_way_to_who_took_its_lease_file(still: Supervisor, instance: Instance) -> None:
    assert still.leases.take() and still._who_waits() == []
    (instance.folder / "lease" / "gpu0.lease").unlink()
    assert instance.leases.take()
    (waiter,) = still._who_waits()
    assert not waiter.later, "at once, whatever the minimum hold"


def test_third_crash_in_a_row_is_told(still: Supervisor) -> None:
    still.gate.loaded()
    still.gate.set(State.LOADING)
    told: list[str] = []

    def client() -> None:
        try:
            still.gate.enter(True, lambda: False)
        except Refused as why:
            told.append(str(why))

    waits = threading.Thread(target=client)
    waits.start()
    until(lambda: still.gate.held == 1)
    for _ in range(2):
        still._crashed(-11)
        assert still.gate.wanted, "it is loaded again"
    still._crashed(-11)
    waits.join(30)
    assert "status -11 3 times within 30 s. Fix: " in told[0] and not still.gate.wanted
