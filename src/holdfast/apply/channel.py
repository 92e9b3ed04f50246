"""A program that runs on the host beside pyinfra's commands, over the same connection, and talks line by line.

SSH: a channel of its own on the transport that pyinfra has opened (no second login). ``@local``: a subprocess in a
session of its own, so that Ctrl-C in the terminal does not reach it. Other connectors (``@fake``) have none.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

SCRIPTS = Path(__file__).parent


class Channel(Protocol):
    def send(self, line: str) -> None:
        """One line to the program's stdin. Raises OSError when it has gone."""

    def receive(self, seconds: float) -> str | None:
        """Its next line, or None at the end of its output or after ``seconds``."""

    def alive(self) -> bool:
        """Whether the program may still be running and reachable."""

    def errors(self) -> str:
        """What it wrote to stderr so far."""

    def close(self) -> None:
        """Ends the conversation: the program sees the end of its stdin."""


class LocalChannel:
    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._rest = b""

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def receive(self, seconds: float) -> str | None:
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            descriptor = self._process.stdout.fileno()
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            more = os.read(descriptor, 65536) if ready else b""
            if not more:
                return None
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def alive(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        assert self._process.stderr is not None
        text = b""
        while select.select([self._process.stderr.fileno()], [], [], 0.2)[0]:
            more = os.read(self._process.stderr.fileno(), 4096)
            if not more:
                break
            text += more
        return text.decode(errors="replace").strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self, seconds: float) -> None:
        """As close, and waits until the program has ended; one that goes on for ``seconds`` is killed. Never raises: what
        happened meanwhile is what a person must see."""
        with contextlib.suppress(OSError):
            self.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class SshChannel:
    def __init__(self, transport: Any, command: str) -> None:
        self._channel = transport.open_session()
        self._channel.exec_command(command)
        self._rest = b""

    def send(self, line: str) -> None:
        self._channel.sendall(line.encode() + b"\n")

    def receive(self, seconds: float) -> str | None:
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = self._channel.recv(65536)
            except TimeoutError:
                return None
            if not more:
                return None
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return str(line.decode(errors="replace"))

    def alive(self) -> bool:
        transport = self._channel.get_transport()
        return not (self._channel.closed or self._channel.eof_received or not transport.is_active())

    def errors(self) -> str:
        self._channel.settimeout(0.5)
        try:
            return str(self._channel.recv_stderr(4096).decode(errors="replace").strip())
        except TimeoutError:
            return ""

    def close(self) -> None:
        self._channel.shutdown_write()


def can_open(host: Any) -> bool:
    """Whether this pyinfra host's connector can carry a program beside its commands."""
    return getattr(host.connector, "client", None) is not None or type(host.connector).__name__ == "LocalConnector"


def open_channel(host: Any, command: str) -> Channel:
    """Start ``command`` (a line for the login shell) beside the commands of this pyinfra host."""
    client = getattr(host.connector, "client", None)
    return LocalChannel(command) if client is None else SshChannel(client.get_transport(), command)
