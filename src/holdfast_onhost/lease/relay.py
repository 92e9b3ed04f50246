"""Ollama's connections: health is answered here, everything else is handed to the real llama-server byte by byte."""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import threading
import time
from functools import partial

from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.refusal import Refused

# Ollama asks these before and after a generation, for the same client (/slots: who looks whether one runs).
_CHEAP = ("/tokenize", "/detokenize", "/apply-template", "/props", "/slots")
_HEAD_MAX = 1 << 20  # bytes
_HEAD_S = 60.0
_CHUNK = 65536
# As llama-server says it.
_LOADING = (
    503, "Service Unavailable", {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
)  # fmt: skip
_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Relay:
    """Listens where Ollama expects llama-server, for as long as the supervisor lives."""

    def __init__(self, gate: Gate, host: str, port: int, socket_path: str) -> None:
        self.gate, self.socket_path = gate, socket_path
        self.door = socket.socket()
        self.door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.door.bind((host, port))
        except OSError as error:
            raise Refused(
                f"cannot listen on {host}:{port}, the port that Ollama chose: {error.strerror}",
                "ask again: it takes another",
            ) from error
        self.door.listen(512)

    def run(self) -> None:
        """One thread a connection: Ollama uses one a request."""
        while True:
            try:
                client, _ = self.door.accept()
            except OSError as error:
                if self.door.fileno() < 0:
                    return
                print(f"holdfast: cannot take a connection: {error.strerror}", file=sys.stderr, flush=True)
                time.sleep(0.1)  # too many open files, perhaps: some will end
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(_HEAD_S)
                head = read_head(client)
                client.settimeout(None)
                if head:
                    self._answer(client, head)
            except OSError:
                return  # a side that is gone: the other one is told by the end of its connection

    def _answer(self, client: socket.socket, head: bytes) -> None:
        path = head.split(b" ", 2)[1].split(b"?")[0].decode("latin-1")
        if path == "/health":
            # Always well once the first load is done, parked or not: that is why Ollama never notices a hand-over.
            self.gate.asked_health = time.monotonic()
            if self.gate.loaded_once:
                reply(client, 200, "OK", {"status": "ok"})
            else:
                reply(client, *_LOADING)
            return
        generating = path not in _CHEAP
        loading: bool | None = None  # said to who looks while nobody is served; None: somebody is
        try:
            with self.gate.changed:  # no hand-over between the question and the door
                if path == "/slots":
                    loading = None if self.gate.look() else self.gate.wanted
                elif not self.gate.enter(generating, partial(_gone, client)):
                    return
        except Refused as why:
            # As plain text: Ollama hands the body on as it is (llm/llama_server.go, statusErrorMessage).
            reply(client, 500, "Internal Server Error", f"holdfast: {why}")
            return
        if loading is not None:
            # Who only looks must not queue for the card, nor have a model loaded.
            reply(client, *(_LOADING if loading else (200, "OK", [])))
            return
        rest: bytes | None = None
        try:
            rest = self._carry(client, close_after(head))
        finally:
            self.gate.leave(generating, left=rest is None)
        try:
            client.sendall(rest or b"")
        except OSError:
            if generating:
                self.gate.doubt()

    def _carry(self, client: socket.socket, head: bytes) -> bytes | None:
        """Hands on both ways until the answer is complete; returns what the client has not taken yet.  None: it left.

        Takes what the real llama-server says at once, however slowly the client reads: a stalled client must not pin
        the GPU.  An answer is a few megabytes at most.
        """
        waiting, listening = bytearray(), select.POLLIN
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(self.socket_path)
            real.sendall(head)
            poll = select.poll()
            poll.register(real, select.POLLIN)
            poll.register(client, select.POLLIN | select.POLLRDHUP)
            while True:
                for fd, events in poll.poll():
                    if fd == real.fileno():
                        data = real.recv(_CHUNK)
                        if not data:
                            return bytes(waiting)
                        waiting += data
                    elif events & _LEFT:
                        return None
                    elif events & select.POLLIN:
                        try:
                            real.sendall(client.recv(_CHUNK))
                        except OSError:
                            listening = 0  # it wants no more of this request; its answer may still be on the way
                if waiting:
                    del waiting[: _send(client, waiting)]
                poll.modify(client, listening | select.POLLRDHUP | (select.POLLOUT if waiting else 0))


def read_head(client: socket.socket) -> bytes:
    """The request up to its first bytes of body; empty if it ends before that or is no request."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(_CHUNK)
        head += data
        if not data or len(head) > _HEAD_MAX:
            return b""
    return head if head.count(b" ") >= 2 else b""


def close_after(head: bytes) -> bytes:
    """The same request, asking for one answer on this connection: its end is how we know that the work is done."""
    fields, _, body = head.partition(b"\r\n\r\n")
    fields = re.sub(rb"(?im)^(?:connection|keep-alive):[^\n]*\n?", b"", fields + b"\r\n")
    return fields + b"Connection: close\r\n\r\n" + body


def reply(client: socket.socket, status: int, reason: str, what: object) -> None:
    """A whole answer: text as it is, everything else as JSON."""
    kind, text = ("text/plain", what) if isinstance(what, str) else ("application/json", json.dumps(what))
    body = text.encode()
    client.sendall(
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )


def _send(client: socket.socket, data: bytearray) -> int:
    try:
        return client.send(memoryview(data)[:_CHUNK].tobytes(), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def _gone(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))
