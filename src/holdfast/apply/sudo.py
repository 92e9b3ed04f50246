"""Becoming root where sudo asks for a password.

pyinfra puts the password into the command line on the host, where everybody's ``ps`` shows it. Instead a program of the
login user keeps it in memory there and answers sudo through a FIFO (askpass.sh); pyinfra only learns the path of the
askpass program. Nothing is written down, here or there.
"""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from typing import Any

from holdfast.apply.channel import SCRIPTS, Channel, open_channel
from holdfast.apply.login import Account
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit

# Read end of a pipe from the command line, which asks the person when it sees the event `sudo_password`.
VARIABLE = "HOLDFAST_SUDO_FD"
TRIES = 3


def obtain(host: Any, name: str, account: Account) -> str:
    """The password, asked for and checked on the host; at most three tries. Raises HoldfastError."""
    for attempt in range(TRIES):
        password = _ask(name, account.user, again=attempt > 0)
        if password and right(host, password):
            return password
        if not password:
            break
    what = "no password was given" if not password else f"{TRIES} wrong passwords"
    raise HoldfastError(
        f"sudo on {name} asks {account.user} for a password: {what}",
        fix="run it in a terminal and type the password, or allow this user to sudo without one",
    )


def _ask(host: str, user: str, again: bool) -> str:
    descriptor = os.environ.get(VARIABLE, "")
    if descriptor:
        emit("sudo_password", host=host, user=user, again=again)
        line = b""
        while not line.endswith(b"\n"):
            more = os.read(int(descriptor), 1024)
            if not more:
                break
            line += more
        return line.decode().rstrip("\n")
    if not sys.stdin.isatty():
        return ""
    return getpass.getpass(f"{'Wrong. ' if again else ''}sudo password of {user} on {host}: ")


def right(host: Any, password: str) -> bool:
    """Whether sudo on the host takes it: one try, so that it is one line in the host's log."""
    channel = open_channel(host, "sudo -k -S -p '' true </dev/stdin >/dev/null 2>&1 && echo yes || echo no")
    channel.send(password)
    channel.close()
    return channel.receive(30) == "yes"


def keep(host: Any, account: Account, password: str) -> tuple[Channel, str]:
    """Start the answering program on the host; its channel, and the path of the askpass program."""
    script = (SCRIPTS / "askpass.sh").read_text()
    channel = open_channel(host, f"exec sh -c {shlex.quote(script)} holdfast-askpass {shlex.quote(account.tmp)}")
    channel.send(password)
    path = channel.receive(30)
    if not path:
        raise HoldfastError(
            f"sudo's askpass program did not start on {host.name}: {channel.errors()}",
            fix=f"is there room in {account.tmp}, and may programs run there (noexec)?",
        )
    return channel, path
