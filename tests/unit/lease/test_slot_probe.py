"""The cure of ollama#17131 against a server that stands for Ollama, in the end of which a process of ours is the proof."""

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

from holdfast_onhost.lease import slot_probe
from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.slot_probe import SlotProbe


class FakeOllama(ThreadingHTTPServer):
    """Answers /api/ps; refuses /api/generate at once, or never answers it if `hangs`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hangs = False
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
        if self.server.hangs:
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


def start(ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(slot_probe, "_QUIET_S", 0.0)
    monkeypatch.setattr(slot_probe, "_TIMEOUT_S", 0.2)
    gate = Gate()
    gate.loaded()
    probe = SlotProbe(gate, ("127.0.0.1", ollama.server_port), os.pidfd_open(process.pid))
    threading.Thread(target=probe.run, daemon=True).start()
    return gate


def request(gate: Gate) -> None:
    """A generation from its beginning to its end."""
    assert gate.enter(True, lambda: False)
    gate.leave(True)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_slot_that_comes_back_is_proven_once(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: gate.unproven is None)
    assert len(ollama.asked) == 1 and ollama.asked[0]["format"] == "slot probe"
    # Any other context would make Ollama load the model anew.
    assert ollama.asked[0]["model"] == "coder:latest" and ollama.asked[0]["options"] == {"num_ctx": 8192}
    time.sleep(0.6)
    assert len(ollama.asked) == 1 and process.poll() is None


def test_slot_that_is_lost_ends_ollama(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.hangs = True
    request(start(ollama, process, monkeypatch))
    until(lambda: process.poll() is not None)
    assert process.poll() == -signal.SIGTERM and len(ollama.asked) == 2


def test_slot_of_a_request_that_came_meanwhile_is_not_lost(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.hangs = True
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: ollama.asked)
    assert gate.enter(True, lambda: False)  # runs for longer than the probe has patience
    until(lambda: len(ollama.asked) == 2)
    time.sleep(0.6)
    assert process.poll() is None
    ollama.hangs = False
    gate.leave(True)
    until(lambda: gate.unproven is None)
    assert process.poll() is None


def test_model_that_ollama_has_given_up_is_not_loaded_for_a_probe(
    ollama: FakeOllama, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.models = []
    gate = start(ollama, process, monkeypatch)
    request(gate)
    until(lambda: gate.unproven is None)
    assert ollama.asked == [] and process.poll() is None
