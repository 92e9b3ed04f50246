"""Becoming root where sudo asks for a password: for pyinfra (connection.py), and for what else uses sudo there (cli/askpass.py).

pyinfra puts the password into the command line on the host, where everybody's ``ps`` shows it. Instead a program of the
login user keeps it in memory there and answers sudo through a FIFO (askpass.sh); pyinfra only learns the path of the
askpass program. Nothing is written down, here or there.
"""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from holdfast.apply.channel import SCRIPTS, Channel
from holdfast.apply.login import Account
from holdfast.apply.variables import SUDO_FD, Ask
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit

# Starts a line for the login shell on the host.
Open = Callable[[str], Channel]
C = TypeVar("C", bound=Channel)
TRIES = 3
ANSWER_S = 30.0


def obtain(opener: Open, name: str, account: Account, ask: Ask) -> str:
    """The password, asked for and checked on the host ``name``; at most three tries. Raises HoldfastError."""
    what = f"{TRIES} wrong passwords"
    for attempt in range(TRIES):
        password = ask(account.user, name, attempt > 0)
        if not password:
            what = "no password was given"
            break
        if _right(opener, name, password):
            return password
    raise HoldfastError(
        f"sudo on {name} asks {account.user} for a password: {what}",
        fix="run it in a terminal and type the password, or allow this user to sudo without one",
    )


def ask_person(user: str, host: str, again: bool) -> str:
    """From inside pyinfra: the command line asks, or in a plain run the terminal."""
    descriptor = os.environ.get(SUDO_FD, "")
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


def _right(opener: Open, name: str, password: str) -> bool:
    """Whether sudo on the host takes it: one try, so that it is one line in the host's log."""
    channel = opener("sudo -k -S -p '' true >/dev/null 2>&1 && echo yes || echo no")
    # Where it has gone already, its last words are read below.
    with suppress(OSError):
        channel.send(password)
        channel.close()
    answer = channel.receive(ANSWER_S)
    if answer not in ("yes", "no"):
        raise HoldfastError(
            f"sudo on {name} could not be tried: {answer or channel.errors() or 'no answer'}",
            fix=f"log in there yourself and try: sudo -k true (user and address: {name} in hosts.yml)",
        )
    return answer == "yes"


def keep(opener: Callable[[str], C], name: str, account: Account, password: str) -> tuple[C, str]:
    """Start the answering program on the host; its channel, which ends it, and the path of the askpass program."""
    script = (SCRIPTS / "askpass.sh").read_text()
    channel = opener(f"exec sh -c {shlex.quote(script)} holdfast-askpass {shlex.quote(account.tmp)}")
    with suppress(OSError):
        channel.send(password)
    path = channel.receive(ANSWER_S)
    if not path:
        with suppress(OSError):
            channel.close()
        raise HoldfastError(
            f"sudo's askpass program did not start on {name}: {channel.errors()}",
            fix=f"is there room in {account.tmp}, and may programs run there (noexec)?",
        )
    return channel, path
