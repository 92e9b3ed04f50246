"""paramiko's ProxyCommand under gevent, made to lose nothing."""

from __future__ import annotations

from typing import Any

from paramiko.proxy import ProxyCommand
from paramiko.ssh_exception import ProxyCommandFailure


def send(self: Any, content: bytes) -> int:
    """As ProxyCommand.send, but tells how many bytes the pipe really took; paramiko sends the rest again."""
    try:
        return self.process.stdin.write(content) or 0
    except OSError as error:
        raise ProxyCommandFailure(" ".join(self.cmd), error.strerror or str(error)) from None


def send_everything() -> None:
    """Call before pyinfra connects.

    paramiko 4.0 (proxy.py) answers ``len(content)`` whatever the unbuffered pipe took. Under gevent, which pyinfra uses, the
    pipe does not block and takes 64 KiB at a time; the rest of a large packet was lost and sshd ended the connection with
    "Corrupted MAC on input" (seen with a lock of 190 KB on stdin). The same corruption with eventlet:
    https://github.com/paramiko/paramiko/issues/173
    """
    ProxyCommand.send = send  # type: ignore[method-assign, assignment]
