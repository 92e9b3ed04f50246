"""One apply at a time on a machine, and none that goes on unseen: a small program holds a lock on the machine itself.

It runs beside pyinfra's commands over the same connection (hold.sh). When the connection ends without a word (Ctrl-C,
``kill -9``, a cable) it ends what the apply left running, found by the environment variable HOLDFAST_APPLY that every
command carries, and frees the lock.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from dataclasses import dataclass

from holdfast.apply.channel import SCRIPTS
from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Holder:
    """Who holds a machine: ``who`` as user@computer, ``since`` in UTC, ``pid`` of the holding program there."""

    who: str = "somebody"
    since: str = "just now"
    pid: str = ""

    @classmethod
    def of(cls, line: str) -> Holder:
        """From the line in the lock file: three fields with tabs between; empty while the other one is starting."""
        fields = [*line.split("\t"), "", "", ""]
        return cls(fields[0] or cls.who, fields[1] or cls.since, fields[2] if fields[2].isdigit() else "")

    def error(self, host: str) -> HoldfastError:
        """What the second operator is told."""
        force = f"; if that computer is gone for good: `sudo kill {self.pid}` on {host} ends it" if self.pid else ""
        return HoldfastError(
            f"{host} is held by {self.who} since {self.since}: one apply at a time",
            fix=f"wait until that apply has ended, then run the same command again{force}",
        )


def me() -> str:
    """This operator, as the other one will read it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


def command(apply_id: str, who: str, sudo: str) -> str:
    """The line that starts the holder; ``sudo`` is what makes it root ('' for root itself)."""
    script = (SCRIPTS / "hold.sh").read_text()
    return f"exec {sudo} sh -c {shlex.quote(script)} holdfast-lock {shlex.quote(apply_id)} {shlex.quote(who)}"
