"""Clients of Ollama: single requests, and crowds that note what became of each of theirs."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.lease.servers import Server

PATIENCE_S = 60.0  # a request that takes longer hangs
HANGS = "hangs: "  # how the error of such a one begins


class Listens(Protocol):
    """Something on a port of the loopback."""

    @property
    def port(self) -> int: ...


def ask(server: Listens, method: str, path: str, body: object = None, timeout: float = PATIENCE_S) -> Any:
    """The JSON of one answer.  Raises OSError for no answer, RuntimeError with the text for an error."""
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        link.request(method, path, json.dumps(body) if body is not None else None)
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text.decode(errors='replace')}")
        return json.loads(text)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        link.close()


def generate(server: Server, tokens: int, *, timeout: float = PATIENCE_S, **extra: Any) -> dict[str, Any]:
    """One generation of `tokens` tokens by a model that never stops by itself."""
    body = {"model": server.name, "prompt": "go", "stream": False} | extra
    body["options"] = {"num_predict": tokens} | extra.get("options", {})
    return dict(ask(server, "POST", "/api/generate", body, timeout))


def whole(answer: dict[str, Any], tokens: int) -> bool:
    """Whether a generation was not cut: it ended by its length, and has all of it."""
    return bool(answer["done"]) and answer["done_reason"] == "length" and answer["eval_count"] == tokens


def unload(server: Server) -> None:
    ask(server, "POST", "/api/generate", {"model": server.name, "keep_alive": 0})


class Stream:
    """A streaming generation that a test reads line by line and may leave."""

    def __init__(self, server: Server, tokens: int, **extra: Any) -> None:
        body = {"model": server.name, "prompt": "go"} | extra
        body["options"] = {"num_predict": tokens} | extra.get("options", {})
        text = json.dumps(body).encode()
        self.link = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        self.link.sendall(
            b"POST /api/generate HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        )
        self.file = self.link.makefile("rb")

    def first(self) -> None:
        """Reads up to and with the first token."""
        while not (line := self.file.readline()).startswith(b"{"):
            if not line:
                raise OSError("no answer")

    def rest(self) -> dict[str, Any]:
        """Reads to the end; returns the last line."""
        return dict(json.loads([line for line in self.file if line.startswith(b"{")][-1]))

    def leave(self) -> None:
        self.file.close()
        self.link.close()


class Stalled:
    """A client that stops reading, hangs up and goes: it takes one of Ollama's slots with it for certain (ollama#17131).

    Ollama writes to it until no buffer takes more.  It half closes: Ollama knows that it left, but still waits in that
    write, and what generates for it waits to hand on the next token.  When it goes at last, the write ends, nobody takes
    that token, and the slot is never given back.
    """

    def __init__(self, server: Server) -> None:
        # log probabilities only make the lines long, so that few tokens fill the buffers; small segments make these small
        body = {"model": server.name, "prompt": "go", "raw": True, "logprobs": True, "top_logprobs": 20}
        text = json.dumps(body | {"options": {"num_predict": 20000}}).encode()
        self.link = socket.socket()
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.link.connect(("127.0.0.1", server.port))
        self.link.sendall(
            b"POST /api/generate HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        )

    def go(self) -> None:
        seen = [0]
        while not seen[-1] or seen[-6:-1] != seen[-5:]:
            time.sleep(0.05)
            seen.append(self._unsent())
        self.link.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        self.link.close()

    def _unsent(self) -> int:
        """Bytes that Ollama has written and that are not on their way: /proc/net/tcp, the row of its end."""
        ends = [f"0100007F:{port:04X}" for port in (self.link.getpeername()[1], self.link.getsockname()[1])]
        with open("/proc/net/tcp", encoding="ascii") as file:
            rows = [line.split() for line in file]
        return next((int(row[4].split(":")[0], 16) for row in rows if row[1:3] == ends), 0)


@dataclass(frozen=True)
class Asked:
    """One request: when (monotonic), how long it took, how long of that the model worked for it, in seconds; what it was
    told if it failed."""

    server: str
    began: float
    took: float
    whole: bool
    worked: float = 0.0
    error: str = ""


class Crowd:
    """Clients that ask one after the other until told to stop."""

    def __init__(self) -> None:
        self.done: list[Asked] = []
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, server: Server, tokens: int, *, think: float = 0.0, clients: int = 1, **extra: Any) -> None:
        """`think`: seconds between an answer and the next request."""
        for _ in range(clients):
            thread = threading.Thread(target=self._ask, args=(server, tokens, think, extra), daemon=True)
            self._threads.append(thread)

    def _ask(self, server: Server, tokens: int, think: float, extra: dict[str, Any]) -> None:
        while not self.stopping.is_set():
            began = time.monotonic()
            good, worked, error = False, 0.0, ""
            try:
                answer = generate(server, tokens, **extra)
                good = whole(answer, tokens)
                worked = (answer.get("prompt_eval_duration", 0) + answer["eval_duration"]) / 1e9
            except (OSError, RuntimeError, ValueError) as failure:
                error = f"{HANGS if isinstance(failure, TimeoutError) else ''}{type(failure).__name__}: {failure}"
            self.done.append(Asked(server.name, began, time.monotonic() - began, good, worked, error))
            self.stopping.wait(think or (0.1 if error else 0))

    def run(self, enough: Any) -> None:
        """Until `enough()` says so; every client ends its last request."""
        for thread in self._threads:
            thread.start()
        while not enough():
            time.sleep(0.05)
        self.stopped_at = time.monotonic()
        self.stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_S + 30)
            assert not thread.is_alive(), "a client hangs"

    def of(self, name: str) -> list[Asked]:
        return [asked for asked in self.done if asked.server == name]
