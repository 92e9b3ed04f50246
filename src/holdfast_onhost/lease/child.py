"""The real llama-server: a child on a private unix socket, which holds the leases too and dies with its supervisor."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence

from holdfast_onhost.lease.refusal import Refused

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
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
        if os.path.exists(self.path):
            os.unlink(self.path)
        me = os.getpid()

        def die_with_us() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:  # killed before the line above: nobody would ever end this one
                os._exit(1)

        try:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, pass_fds=descriptors, preexec_fn=die_with_us
            )
        except OSError as error:
            problem = f"cannot start {self.command[0]}: {error.strerror}"
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
        """Kills it and waits for its end: from then on it has no memory on any GPU."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
