"""paramiko's ProxyCommand under gevent, made to lose nothing and to notice its end."""

from __future__ import annotations

import os
from select import select
from typing import Any

from paramiko.proxy import ProxyCommand
from paramiko.ssh_exception import ProxyCommandFailure


def send(self: Any, content: bytes) -> int:
    """As ProxyCommand.send, but tells how many bytes the pipe really took; paramiko sends the rest again."""
    try:
        return self.process.stdin.write(content) or 0
    except OSError as error:
        raise ProxyCommandFailure(" ".join(self.cmd), error.strerror or str(error)) from None


def recv(self: Any, size: int) -> bytes:
    """As a socket's recv: what there is, at most ``size`` bytes; b"" at the end. Raises TimeoutError after settimeout's
    seconds, and ProxyCommandFailure."""
    out = self.process.stdout
    try:
        if not select([out], [], [], self.timeout)[0]:
            raise TimeoutError
        return os.read(out.fileno(), size)
    except TimeoutError:
        raise
    except OSError as error:
        raise ProxyCommandFailure(" ".join(self.cmd), error.strerror or str(error)) from None


def mend_proxycommand() -> None:
    """Call before pyinfra connects.

    paramiko 4.0 (proxy.py):
    - send answers ``len(content)`` whatever the unbuffered pipe took. Under gevent, which pyinfra uses, the pipe does not
      block and takes 64 KiB at a time; the rest of a large packet was lost and sshd ended the connection with "Corrupted MAC
      on input" (seen with a lock of 190 KB on stdin). The same corruption with eventlet:
      https://github.com/paramiko/paramiko/issues/173
    - recv reads on for ever at the end of the program's output, at full processor load: an apply whose machine went away
      hung so for good (seen for ten minutes). Packetizer.read_all wants b"" there.
    """
    ProxyCommand.send = send  # type: ignore[method-assign, assignment]
    ProxyCommand.recv = recv  # type: ignore[method-assign]
