"""What computes: a server's own word where it gives one, else its use of the processor; idle connections say nothing."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.components.nvidia.activity import people, read_activity, strangers, words
from holdfast.components.nvidia.machine import Holder, Machine
from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.relay import Relay
from holdfast_onhost.lease.states import State

CODER = "0::/system.slice/system-ollama.slice/ollama@coder.service\n"


class Slots(http.server.BaseHTTPRequestHandler):
    """llama-server's GET /slots."""

    status, body, asked = 200, "[]", 0

    def do_GET(self) -> None:
        assert self.path == "/slots"
        Slots.asked += 1
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Behind(socketserver.ThreadingUnixStreamServer):
    """The real llama-server, on the socket that the relay hands on to."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        link, _ = super().get_request()
        return link, ("relay", 0)


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slots)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def process(root: Path, pid: int, *argv: str, group: str = CODER, ticks: int = 0) -> Path:
    at = root / "proc" / str(pid)
    at.mkdir(parents=True)
    (at / "cmdline").write_text("\0".join(argv) + "\0")
    (at / "cgroup").write_text(group)
    (at / "stat").write_text(f"{pid} (a) b) S " + " ".join(["0"] * 10) + f" {ticks} 0 0\n")
    return root


@pytest.mark.parametrize(
    ("status", "slots", "busy"),
    [
        (200, [{"is_processing": False}, {"is_processing": True}], ["ollama@coder (pid 7) is answering"]),
        (200, [{"is_processing": False}], []),
        (503, [], ["ollama@coder (pid 7) is answering"]),
        # It does not say: the processor decides, and it was idle.
        (501, [], []),
        (200, "not slots", []),
    ],
)
def test_a_server_says_it_itself(
    status: int, slots: object, busy: list[str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slots, "status", status)
    monkeypatch.setattr(Slots, "body", json.dumps(slots))
    process(tmp_path, 7, "/opt/ollama/lib/ollama/llama-server", "--port", str(port))
    assert read_activity(str(tmp_path), 0.01, []) == busy


@pytest.mark.parametrize(("status", "busy"), [(503, ["ollama@coder (pid 7) is answering"]), (200, []), (501, [])])
def test_a_relay_is_asked_for_its_child_too(
    status: int, busy: list[str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slots, "status", status)
    monkeypatch.setattr(Slots, "asked", 0)
    process(tmp_path, 7, "/usr/bin/python3", "-I", "/opt/llama-server", "--port", str(port))
    process(tmp_path, 8, "/opt/ollama/lib/ollama/llama-server", "--port", str(port), "--host", "/home/x/llama-7.sock")
    assert read_activity(str(tmp_path), 0.01, []) == busy and Slots.asked == 1


def served(gate: Gate) -> None:
    gate.loaded()


def parked(gate: Gate) -> None:
    gate.loaded()
    gate.set(State.PARKED)


def drained(gate: Gate) -> None:
    gate.loaded()
    gate.generating = 1  # what it waits for
    gate.set(State.DRAINING)


def queued(gate: Gate) -> None:
    parked(gate)
    gate.held = 1


@pytest.mark.parametrize(
    ("at_work", "reach", "asked", "busy"),
    [
        (True, served, 1, True), (False, served, 1, False), (True, drained, 1, True),
        # Nobody behind the door is asked, and nobody comes to the card for it.
        (True, parked, 0, False), (True, queued, 0, True),
    ],
)  # fmt: skip
def test_a_look_through_the_relay_is_no_request(
    at_work: bool,
    reach: Callable[[Gate], None],
    asked: int,
    busy: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Slots, "body", json.dumps([{"is_processing": at_work}]))
    monkeypatch.setattr(Slots, "asked", 0)
    gate, path = Gate(), str(tmp_path / "x.sock")
    relay = Relay(gate, "127.0.0.1", 0, path)
    with Behind(path, Slots) as behind:
        threads = [threading.Thread(target=run, daemon=True) for run in (behind.serve_forever, relay.run)]
        for thread in threads:
            thread.start()
        reach(gate)
        held, state = gate.held, gate.state
        process(tmp_path, 7, "/usr/bin/python3", "-I", "/opt/llama-server", "--port", str(relay.door.getsockname()[1]))
        assert bool(read_activity(str(tmp_path), 0.01, [])) == busy and Slots.asked == asked
        assert (gate.held, gate.state, gate.served, gate.unproven) == (held, state, 0, set())
        behind.shutdown()
    relay.door.close()


@contextmanager
def computing(monkeypatch: pytest.MonkeyPatch, stat: Path) -> Iterator[None]:
    """A process that computes while the reader, and nobody else, waits."""
    sleep, reader = time.sleep, threading.current_thread()

    def work(seconds: float) -> None:
        if threading.current_thread() is not reader:  # what an earlier test has left
            sleep(seconds)
            return
        assert seconds == 0.6
        stat.write_text(stat.read_text().replace(" 0 0 0\n", " 500 0 0\n"))

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", work)
        yield


def test_a_server_that_does_not_answer_is_known_by_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(tmp_path, 7, "/opt/ollama/lib/ollama/llama-server", "--port", "1")
    process(tmp_path, 8, "/usr/bin/python3", "-I", "/opt/ollama/lib/ollama/llama-server")
    process(tmp_path, 9, "/opt/ollama/bin/ollama", "runner", "--port", "1")
    process(tmp_path, 10, "/opt/ollama/bin/ollama", "serve")

    with computing(monkeypatch, tmp_path / "proc/8/stat"):
        assert read_activity(str(tmp_path), 0.6, []) == ["ollama@coder (pid 8) is computing"]
    assert read_activity(str(tmp_path), 0.01, []) == []


def test_anothers_service_on_the_cards_counts_while_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(tmp_path, 21, "/usr/bin/python3", "-m", "train", group="0::/system.slice/jupyter.service\n")
    known = Holder(22, "ollama", "ollama@coder.service"), Holder(23, "nv-hostengine", "nvidia-dcgm.service")
    others = strangers(Machine(holders=(Holder(21, "python3", "jupyter.service"), *known)))
    assert others == [21]

    with computing(monkeypatch, tmp_path / "proc/21/stat"):
        assert read_activity(str(tmp_path), 0.6, others) == ["jupyter (pid 21) is computing"]
    assert read_activity(str(tmp_path), 0.01, others) == [], "it waits for its next cell"


@pytest.mark.parametrize(
    "argv", [("/usr/bin/reason-then-code", "tasks"), ("python3", "-m", "reason_then_code", "tasks")]
)
def test_a_batch(argv: tuple[str, ...], tmp_path: Path) -> None:
    process(tmp_path, 11, *argv, group="0::/user.slice/user-1000.slice/session-1.scope\n")
    assert read_activity(str(tmp_path), 0.01, []) == ["a batch runs: pid 11"]


def test_a_measurement_counts_between_its_answers_too(tmp_path: Path) -> None:
    """./holdfast bench loads models anew: for seconds nothing computes."""
    process(tmp_path, 11, "python3", "-I", "-S", "-", group="0::/user.slice/user-1000.slice/session-1.scope\n")
    assert read_activity(str(tmp_path), 0.01, []) == []
    (tmp_path / "proc/11/comm").write_text("holdfast-bench\n")
    assert read_activity(str(tmp_path), 0.01, []) == ["a measurement runs: pid 11"]


def test_other_processes_are_nobodys_business(tmp_path: Path) -> None:
    process(tmp_path, 12, "vim", "llama-server.md")
    process(tmp_path, 13)
    assert read_activity(str(tmp_path), 0.01, []) == []


def test_a_persons_process_on_the_cards_counts_and_a_screen_does_not() -> None:
    holders = (Holder(1, "Xorg"), Holder(2, "python3"), Holder(3, "llama-server", "ollama@coder.service"))
    machine = Machine(holders=holders)
    assert people(machine) == ["python3 (pid 2) has the cards open"]
    assert words(["x is answering"], machine) == "x is answering; python3 (pid 2) has the cards open"
    assert words([], Machine()) == ""
