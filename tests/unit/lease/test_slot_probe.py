"""The cure of ollama#17131 against a server that stands for Ollama, in the end of which a process of ours is the proof.

tests/lease has the real one, which loses a slot for certain there, and loads a model anew for other options.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.waiting import until

from holdfast_onhost.lease import slot_probe
from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.slot_probe import SlotProbe


class FakeOllama(ThreadingHTTPServer):
    """Answers /api/ps; refuses /api/generate at once, or never answers it while no slot is free."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.free: Callable[[], bool] = lambda: True
        self.asked: list[dict[str, Any]] = []
        self.models = [{"name": "coder:latest", "context_length": 8192}]
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: FakeOllama

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._send(200, {"models": self.server.models})

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if not self.server.free():
            self.server.closing.wait(30)
        else:
            self._send(500, {"error": "invalid format"})

    def _send(self, status: int, what: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    made = FakeOllama()
    yield made
    made.closing.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """The process that stands for Ollama's."""
    made = subprocess.Popen(["/bin/sleep", "600"])
    yield made
    made.kill()
    made.wait()


LOADED = {"options": {"num_thread": 3}, "shift": True}


def start(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, parallel: int = 1
) -> Gate:
    for name, seconds in (("_QUIET_S", 0.0), ("_IGNORED_S", 0.0), ("_TIMEOUT_S", 0.2)):
        monkeypatch.setattr(slot_probe, name, seconds)
    gate = Gate(parallel)
    gate.loaded()
    probe = SlotProbe(gate, ("127.0.0.1", ollama.server_port), os.pidfd_open(process.pid), LOADED)
    threading.Thread(target=probe.run, daemon=True).start()
    return gate


def begin(gate: Gate) -> None:
    assert gate.enter(True, lambda: False)


def request(gate: Gate, left: bool = True) -> None:
    """A generation from its beginning to its end, or until its client left."""
    begin(gate)
    gate.leave(True, left)


def test_slot_that_comes_back_is_proven_once(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: not gate.unproven)
    assert len(ollama.asked) == 1 and ollama.asked[0]["format"] == "slot probe"
    # Any other options would make Ollama load the model anew.
    asked = ollama.asked[0]
    assert asked["model"] == "coder:latest" and asked["shift"] is True
    assert asked["options"] == {"num_ctx": 8192, "num_thread": 3}
    time.sleep(0.6)
    assert len(ollama.asked) == 1 and process.poll() is None


def test_answer_that_was_taken_whole_needs_no_probe(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start(ollama, process, monkeypatch)
    request(gate, left=False)
    time.sleep(0.6)
    assert ollama.asked == []


def test_request_of_which_nothing_comes_is_a_reason_to_look(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama asks for our health before a request takes its slot; the probe's own such question is no reason for another."""
    gate = start(ollama, process, monkeypatch)
    request(gate, left=False)
    gate.asked_health = time.monotonic()
    until(lambda: ollama.asked)
    until(lambda: not gate.unproven)
    time.sleep(0.6)
    assert len(ollama.asked) == 1
    ollama.free = lambda: False
    gate.asked_health = time.monotonic()
    until(lambda: process.poll() is not None)


def test_slot_that_is_lost_ends_ollama(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.free = lambda: False
    request(start(ollama, process, monkeypatch))
    until(lambda: process.poll() is not None)
    assert process.poll() == -signal.SIGTERM and len(ollama.asked) == 2


def test_one_lost_slot_of_two_is_seen_and_cuts_nothing(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start(ollama, process, monkeypatch, parallel=2)
    ollama.free = lambda: gate.generating == 0  # the other one is lost
    request(gate)
    until(lambda: gate.unproven == {1})  # one was free; whether there are two, nobody knows yet
    begin(gate)
    until(lambda: len(ollama.asked) == 3)
    time.sleep(0.6)
    assert process.poll() is None, "a generation runs"
    gate.leave(True)
    until(lambda: process.poll() is not None)


def test_two_slots_that_are_there_are_proven(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a probe while one is in use, or by two generations at once."""
    gate = start(ollama, process, monkeypatch, parallel=2)
    request(gate)
    begin(gate)
    until(lambda: not gate.unproven)
    gate.leave(True, True)
    assert gate.unproven == {0, 1}
    with gate.changed:
        begin(gate)
        begin(gate)
        assert not gate.unproven
    assert process.poll() is None


def test_slot_of_a_request_that_came_meanwhile_is_not_lost(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.free = lambda: False
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: ollama.asked)
    begin(gate)  # runs for longer than the probe has patience
    until(lambda: len(ollama.asked) == 2)
    time.sleep(0.6)
    assert process.poll() is None and not gate.unproven, "it had the slot"
    ollama.free = lambda: True
    gate.leave(True, True)
    until(lambda: not gate.unproven)
    assert process.poll() is None


def test_model_that_ollama_has_given_up_is_not_loaded_for_a_probe(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.models = []
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: not gate.unproven)
    assert ollama.asked == [] and process.poll() is None
