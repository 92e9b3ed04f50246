"""A server that answers with exactly the bytes that a test gives it, right or wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# The number of the request (from 0), its path, the first byte that it asks for -> the whole answer.
Script = Callable[[int, str, int], bytes]


@dataclass
class Hostile:
    """`asked`: path and first byte of each request."""

    script: Script
    port: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(status: str = "200 OK", body: bytes = b"", **headers: object) -> bytes:
    """As it goes over the wire; Content-Length is there unless it is given (None: left out)."""
    fields = {"Content_Length": len(body), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body


@contextlib.contextmanager
def answering(script: Script, drip: float = 0) -> Iterator[Hostile]:
    """One answer for each connection, which it then closes; `drip`: seconds after each of its bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Hostile(script, listener.getsockname()[1])

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller, contextlib.suppress(OSError):
                        head = b""
                        while b"\r\n\r\n" not in head and (more := caller.recv(65536)):
                            head += more
                        first = re.search(rb"(?i)\r\nrange: bytes=(\d+)", head)
                        path, at = head.split()[1].decode("latin-1"), int(first[1]) if first else 0
                        server.asked.append((path, at))
                        said = server.script(len(server.asked) - 1, path, at)
                        for start in range(0, len(said), 1 if drip else len(said) or 1):
                            caller.sendall(said[start : start + 1] if drip else said)
                            time.sleep(drip)
                        caller.shutdown(socket.SHUT_WR)
                        caller.settimeout(0.5)
                        while caller.recv(65536):  # or a reset could overtake the answer
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
