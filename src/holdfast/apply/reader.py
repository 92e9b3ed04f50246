"""One Python on the host that reads all facts of an apply, each in a fork of its own.

Started anew for each fact, sudo and python3 take far longer than most facts do. The program knows nothing from one fact to
the next, ends with the connection, and only ever shortens: what it does not answer is read without it (operations/remote.py).
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Callable
from contextlib import suppress

from paramiko import SSHException

from holdfast.apply.channel import Channel
from holdfast.apply.variables import APPLY

START_S = 60.0
_LOOK_S = 15.0


def serve() -> None:
    """Runs on the host: for each line of stdin, a JSON string with a program's source, one line: a JSON string with what it
    printed, or ``null`` if it failed."""
    import base64  # noqa: F401
    import glob  # noqa: F401
    import grp  # noqa: F401
    import hashlib  # noqa: F401
    import json
    import os
    import pwd  # noqa: F401
    import re  # noqa: F401
    import shutil  # noqa: F401
    import stat  # noqa: F401
    import subprocess  # noqa: F401
    import sys
    import time  # noqa: F401

    # Those that only the programs use are imported once, here, and not in every fork.
    null = os.open(os.devnull, os.O_RDWR)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin.buffer:
        said = os.memfd_create("said")
        child = os.fork()
        if not child:
            status = 1
            try:
                for theirs, ours in enumerate((null, said, null)):
                    os.dup2(ours, theirs)
                exec(compile(json.loads(line), "<fact>", "exec", dont_inherit=True), {"__name__": "__main__"})
                sys.stdout.flush()
                status = 0
            finally:
                os._exit(status)
        failed = os.waitpid(child, 0)[1]
        with open(said, "rb") as f:
            f.seek(0)
            text = None if failed else f.read().decode()
        sys.stdout.write(json.dumps(text) + "\n")
        sys.stdout.flush()


def command(apply_id: str, sudo: str) -> str:
    """The line that starts it; ``sudo`` is what makes it root ('' for root itself). Without python3 it ends at once."""
    script = f"from __future__ import annotations\n{inspect.getsource(serve)}\nserve()\n"
    words = shlex.join(["env", f"{APPLY}={apply_id}", "python3", "-I", "-S", "-c", script])
    return f"exec {sudo} {words}"


class Reader:
    """The host's reader as the facts see it. ``opener`` starts it there, on a connection that may be a new one each time."""

    def __init__(self, opener: Callable[[], Channel]) -> None:
        self._opener = opener
        self._channel: Channel | None = None
        self._off = False

    def read(self, source: str) -> str | None:
        """What ``source``, a Python program, prints on the host as root; None if that is not known from here."""
        if self._off:
            return None
        # Kept again only once it has answered: a question that was cut off must not have its answer taken for the next one's.
        channel, self._channel = self._channel, None
        with suppress(OSError, EOFError, SSHException, ValueError):
            if channel is None or not channel.alive():
                # Without python3 it ends at once, and base may install that. One that says something else, or nothing, is not
                # waited for again; one that could not be opened neither.
                self._off = True
                channel = self._opener()
                ready = channel.receive(START_S) == "ready"
                self._off = not ready and channel.alive()
                if not ready:
                    channel.close()
                    return None
            channel.send(json.dumps(source))
            while (line := channel.receive(_LOOK_S)) is None and channel.alive():
                pass
            said: str | None = json.loads(line or "")
            self._channel = channel
            return said
        return None

    def close(self) -> None:
        """Ends the program on the host."""
        if self._channel is not None:
            with suppress(OSError, EOFError):
                self._channel.close()
        self._channel = None
