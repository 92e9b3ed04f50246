"""The real llama-server: a child on a private unix socket, which holds the leases too and dies with its supervisor."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence

from holdfast_onhost.lease.refusal import Refused

_DIES_WITH_US = (sys.executable, "-IS", os.path.join(os.path.dirname(os.path.realpath(__file__)), "dies_with.py"))
_END_S = 10.0
_PATH_MAX = 107  # bytes, sockaddr_un
_SOCKET = re.compile(r"llama-(\d+)\.sock")


def socket_path(home: str) -> str:
    """A path below the instance's own home, which is private; those of dead predecessors are removed."""
    folder = os.path.join(home, "lease")
    path = os.path.join(folder, f"llama-{os.getpid()}.sock")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        for name in os.listdir(folder):
            found = _SOCKET.fullmatch(name)
            if found and (int(found[1]) == os.getpid() or not os.path.exists(f"/proc/{found[1]}")):
                os.unlink(os.path.join(folder, name))
    except OSError as error:
        fix = f"it must be writable for this instance: ls -ld {home}"
        raise Refused(f"cannot prepare {folder}: {error.strerror}", fix) from error
    if len(os.fsencode(path)) > _PATH_MAX:
        raise Refused(f"{path} is longer than the {_PATH_MAX} bytes that a socket's name may have", "a shorter HOME")
    return path


class Child:
    """At most one process at a time.  Start it from the main thread: it dies with the *thread* that started it."""

    def __init__(self, program: str, arguments: Sequence[str], path: str) -> None:
        self.command, self.path = [program, *arguments], path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, descriptors: Sequence[int]) -> None:
        """With the leases' descriptors; stdout and stderr are Ollama's, which reads memory sizes from them."""
        program = self.command[0]
        try:
            if os.path.exists(self.path):
                os.unlink(self.path)
            if not os.access(program, os.X_OK):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
            self._process = subprocess.Popen(
                [*_DIES_WITH_US, str(os.getpid()), *self.command], stdin=subprocess.DEVNULL, pass_fds=descriptors
            )
        except OSError as error:
            problem = f"cannot start {program}: {error.strerror}: {error.filename}"
            raise Refused(problem, "./holdfast up HOST installs Ollama anew") from error

    def ended(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    def ready(self) -> bool:
        """Whether it has loaded its model."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1)
                link.connect(self.path)
                link.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in link.recv(64)
        except OSError:
            return False

    def stop(self) -> None:
        """Kills it and waits for its end: from then on it has no memory on any GPU.  Raises Refused if it does not end."""
        if not self._process:
            return
        self._process.kill()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise Refused(
                f"llama-server (process {self._process.pid}) was killed and does not end: the kernel waits for the GPU",
                "sudo dmesg | grep -i -e xid -e nvrm, then power the machine off and on",
            ) from None
        self._process = None
