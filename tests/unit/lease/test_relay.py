"""The door and what is carried through it; behind it a server on a unix socket that stands for llama-server."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import until

from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.relay import Relay, close_after
from holdfast_onhost.lease.states import LINGER_S, State

PLENTY = b"x" * (16 << 20)  # more than any socket's buffer


class Site:
    """A relay on a free port, a gate, and a server behind it that keeps what it got and answers `answer`."""

    def __init__(self, folder: Path) -> None:
        self.gate = Gate()
        path = str(folder / "x.sock")
        self.answer, self.got = b"", b""
        self.finish = threading.Event()
        self.finish.set()
        self.behind = socket.socket(socket.AF_UNIX)
        self.behind.bind(path)
        self.behind.listen()
        self.relay = Relay(self.gate, "127.0.0.1", 0, path)
        self.port = self.relay.door.getsockname()[1]
        for work in (self.relay.run, self._serve):
            threading.Thread(target=work, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self.behind.accept()
            except OSError:
                return
            with link:
                self.got = link.recv(65536)
                try:
                    link.sendall(self.answer)
                    self.finish.wait(30)
                except OSError:
                    continue

    def ask(self, path: str, timeout: float = 30) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        link.request("POST", path, b"{}")
        answer = link.getresponse()
        return answer.status, answer.read().decode()

    def open(self, path: str = "/completion") -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        link.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return link


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    yield made
    made.relay.door.close()
    made.behind.close()


def test_health_is_loading_once_and_then_always_well(site: Site) -> None:
    status, text = site.ask("/health")
    assert status == 503 and json.loads(text)["error"]["message"] == "Loading model"
    site.gate.loaded()
    assert site.ask("/health") == (200, '{"status": "ok"}')
    site.gate.set(State.PARKED)
    assert site.ask("/health") == (200, '{"status": "ok"}') and not site.got


def test_request_waits_for_the_turn_and_is_counted(site: Site) -> None:
    link = site.open()
    until(lambda: site.gate.held == 1)
    assert site.gate.wanted and not site.got
    site.gate.loaded()
    assert link.recv(1000).endswith(b"hi")
    until(lambda: site.gate.active == 0)
    assert site.gate.served == 1 and site.gate.held == 0 and not site.gate.unproven


def test_while_draining_only_what_a_running_one_still_needs_passes(site: Site) -> None:
    site.gate.loaded()
    site.gate.set(State.DRAINING)
    assert site.ask("/tokenize") == (200, "hi"), "a moment ago a generation ended, and these may be its tokens"
    ended = site.gate.last_end
    until(lambda: time.monotonic() - ended >= LINGER_S)
    links = [site.open(path) for path in ("/v1/chat/completions", "/tokenize", "/apply-template")]
    until(lambda: site.gate.held == 3)
    assert site.gate.served == 0 and site.gate.active == 0 and site.gate.last_end == ended, "and they renewed nothing"
    site.gate.set(State.SERVING)
    assert all(link.recv(1000).endswith(b"hi") for link in links)


def test_who_only_looks_has_no_model_loaded(site: Site) -> None:
    site.gate.loaded()
    assert site.ask("/slots") == (200, "hi")
    until(lambda: site.gate.active == 0)
    site.got = b""
    site.gate.set(State.PARKED)
    assert site.ask("/slots") == (200, "[]") and not site.gate.wanted
    link = site.open()
    until(lambda: site.gate.held == 1)
    status, text = site.ask("/slots")
    assert status == 503 and json.loads(text)["error"]["message"] == "Loading model"
    assert site.gate.held == 1 and not site.got
    site.gate.set(State.SERVING)
    assert link.recv(1000).endswith(b"hi")


def test_who_only_looks_sees_what_still_runs_while_a_holder_drains(site: Site) -> None:
    site.finish.clear()
    site.gate.loaded()
    link = site.open()
    assert link.recv(1000).endswith(b"hi") and site.gate.generating == 1
    site.gate.set(State.DRAINING)
    assert site.gate.look() and site.gate.active == 2
    site.gate.leave(False)
    site.finish.set()
    until(lambda: site.gate.active == 0)
    assert not site.gate.look() and site.gate.active == 0


def test_client_that_leaves_while_it_waits_is_forgotten(site: Site) -> None:
    link = site.open()
    until(lambda: site.gate.held == 1)
    link.close()
    until(lambda: site.gate.held == 0)
    assert not site.got


def test_client_that_leaves_ends_its_work(site: Site) -> None:
    site.answer = b"HTTP/1.1 200 OK\r\n\r\n1"
    site.finish.clear()
    site.gate.loaded()
    link = site.open()
    assert link.recv(1000)
    assert site.gate.active == 1
    link.close()
    until(lambda: site.gate.active == 0)
    assert site.gate.unproven == {0}, "which may have cost Ollama its slot"


def test_client_that_leaves_before_it_has_read_all_is_noticed_too(site: Site) -> None:
    site.answer = PLENTY
    site.gate.loaded()
    link = site.open()
    assert link.recv(1)
    until(lambda: site.gate.active == 0)
    assert not site.gate.unproven
    link.close()
    until(lambda: site.gate.unproven == {0})


def test_health_tells_when_a_request_has_reached_ollama(site: Site) -> None:
    before = time.monotonic()
    site.ask("/health")
    assert before <= site.gate.asked_health <= time.monotonic()


def test_failure_is_told_to_those_who_wait_and_to_no_other(site: Site) -> None:
    first = site.open()
    until(lambda: site.gate.held == 1)
    site.gate.loaded_once = True
    site.gate.fail(Refused("GPU left is gone", "put it back"))
    answer = b"".join(iter(lambda: first.recv(1000), b""))
    assert b" 500 " in answer and answer.endswith(b"holdfast: GPU left is gone. Fix: put it back")
    assert not site.gate.wanted
    second = site.open()
    until(lambda: site.gate.held == 1)
    site.gate.loaded()
    assert second.recv(1000).endswith(b"hi")


def test_those_who_were_told_want_nothing_any_more(site: Site) -> None:
    """Even before their threads have run: otherwise the load that has just failed would be tried once more for nobody."""
    links = [site.open() for _ in range(5)]
    until(lambda: site.gate.held == 5)
    with site.gate.changed:
        site.gate.loaded_once = True
        site.gate.fail(Refused("x", "y"))
        assert not site.gate.wanted
    assert all(b" 500 " in link.recv(1000) for link in links)
    site.open()
    until(lambda: site.gate.held == 1)


def test_stalled_client_does_not_pin_the_gpu_and_still_gets_everything(site: Site) -> None:
    site.answer = PLENTY
    site.gate.loaded()
    link = site.open()
    assert link.recv(1)
    until(lambda: site.gate.active == 0)  # it has read one byte of sixteen million
    rest = 0
    while data := link.recv(1 << 20):
        rest += len(data)
    assert rest + 1 == len(PLENTY)


def test_end_of_llama_server_ends_the_connection(site: Site) -> None:
    site.behind.close()
    site.gate.loaded()
    Path(site.relay.socket_path).unlink()
    link = site.open()
    assert link.recv(100) == b""
    until(lambda: site.gate.active == 0)


def test_connection_carries_one_request(site: Site) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nConnection: y"
    assert close_after(head) == (
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nConnection: y"
    )
    site.gate.loaded()
    site.ask("/completion")
    assert site.got.lower().count(b"connection:") == 1


@pytest.mark.parametrize("noise", [b"", b"\r\n\r\n", b"GET\r\n\r\n"])
def test_noise_is_no_request(site: Site, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as link:
        link.sendall(noise)
        link.shutdown(socket.SHUT_WR)
        assert link.recv(100) == b""
    assert site.gate.quiet


def test_port_that_is_taken(site: Site) -> None:
    with pytest.raises(Refused, match=f"cannot listen on 127.0.0.1:{site.port}"):
        Relay(site.gate, "127.0.0.1", site.port, "/x")
