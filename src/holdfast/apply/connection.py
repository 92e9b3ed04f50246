"""What one pyinfra host's connection carries beside the commands: the sudo answer, the lock and the reader of facts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
from pyinfra.api import DeployError

from holdfast.apply import lock, sudo
from holdfast.apply.channel import Channel, can_open, open_channel
from holdfast.apply.login import Account, Login
from holdfast.apply.reader import Reader
from holdfast.apply.reader import command as reading
from holdfast.apply.variables import APPLY
from holdfast.errors import HoldfastError
from holdfast.operations.failing import report
from holdfast.operations.remote import READER

_KEY = "holdfast"
GONE_S = 60


@dataclass
class Held:
    """The state of one host's connection. ``interrupted`` is set when the operator pressed Ctrl-C."""

    name: str
    account: Account
    apply_id: str
    password: str = ""
    answerer: Channel | None = None
    askpass: str = ""
    holder: Channel | None = None
    interrupted: bool = False

    @property
    def sudo(self) -> str:
        """The words before a command that make it root's."""
        if self.account.sudo == "root":
            return ""
        return f"env SUDO_ASKPASS='{self.askpass}' sudo -A" if self.askpass else "sudo -n"


def prepare(host: Any, name: str) -> None:
    """Right after pyinfra has connected: find out who we are there and tell pyinfra how to become root."""
    tune_socket(host)
    # Without sudo, whatever the inventory says: it is what this fact finds out.
    account: Account = host.get_fact(Login, _sudo=False)
    if account.sudo == "missing":
        raise HoldfastError(
            f"{account.user} on {name} is not root, and sudo is not installed there",
            fix="log in as root in hosts.yml (ssh: {user: root}), or install sudo there and allow this user",
        )
    held = Held(name, account, uuid.uuid4().hex)
    host.connector_data[_KEY] = held
    host.data._sudo = account.sudo != "root"
    host.data._temp_dir = account.tmp
    # Every command carries the mark by which the holder finds what an apply has left running.
    host.data._env = {APPLY: held.apply_id}
    if account.sudo == "password":
        held.password = sudo.obtain(partial(open_channel, host), name, account, sudo.ask_person)
        _answer_sudo(host, held)
    if can_open(host):
        host.connector_data[READER] = Reader(lambda: open_channel(host, reading(held.apply_id, held.sudo)))
    _note_interrupt(host)


def tune_socket(host: Any) -> None:
    """Speed, and an end for a connection whose other side has gone without a word. A ProxyCommand has no socket.

    paramiko leaves Nagle's algorithm on; with delayed ACK: 40 ms a command. And it waits for ever for an answer: what was
    sent must be acknowledged within ``GONE_S``, and a silent side is asked every 15 s (tcp(7)).
    """
    client = getattr(host.connector, "client", None)
    if client is None:
        return
    with contextlib.suppress(OSError, AttributeError):
        sock = client.get_transport().sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_USER_TIMEOUT", GONE_S * 1000), ("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 15)):
            if hasattr(socket, name):  # Linux; other systems have some of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _answer_sudo(host: Any, held: Held) -> None:
    held.answerer, held.askpass = sudo.keep(partial(open_channel, host), held.name, held.account, held.password)
    # Any word: pyinfra only wants to know that there is a password, and puts what it is given on the command line.
    host.data._sudo_password = "asked-by-askpass"
    # Private key of pyinfra 3.10 (connectors/util.py, _ensure_askpass_set_for_host): with it set, pyinfra makes no
    # askpass file of its own. tests/unit/apply watches it.
    host.connector_data[askpass_key(held.account.tmp)] = held.askpass


def askpass_key(tmp: str) -> str:
    return f"sudo_askpass_path__{tmp}"


_interruptible: list[Any] = []


def _note_interrupt(host: Any) -> None:
    """Ctrl-C ends what runs on every connected host, and then this process.

    pyinfra's own handler raises SystemExit in whichever greenlet is running; pyinfra 3.10 then waits until the command on
    the host has ended by itself (seen: half a minute and more), which is what Ctrl-C is to prevent.
    """
    if not _interruptible:
        signal.signal(signal.SIGINT, _interrupt)
    _interruptible.append(host)


def _interrupt(number: int, frame: Any) -> None:
    # A handler must not wait; a greenlet may.
    gevent.spawn(_leave)


def _leave() -> None:
    for host in _interruptible:
        held: Held = host.connector_data[_KEY]
        if held.interrupted:
            # The second Ctrl-C: the holder sees the end of the connection and does the same unseen.
            os._exit(130)
        held.interrupted = True
    for host in _interruptible:
        release(host)
    print("Exiting upon user request!", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(130)


def hold(host: Any) -> None:
    """Take the machine's lock, if this connection does not hold it yet. Ends the run when somebody else does."""
    held: Held | None = host.connector_data.get(_KEY)
    if held is None or (held.holder is not None and held.holder.alive()):
        return
    if held.holder is not None:
        # The machine was restarted under us, and the connection is a new one.
        tune_socket(host)
        if held.password:
            _answer_sudo(host, held)
    channel = open_channel(host, lock.command(held.apply_id, lock.me(), held.sudo))
    answer = channel.receive(60) or ""
    if answer != "mine":
        if answer.startswith("held"):
            error = lock.Holder.of(answer.partition("\t")[2]).error(held.name)
        else:
            error = HoldfastError(
                f"the lock of {held.name} cannot be taken: {answer or channel.errors() or 'no answer'}",
                fix=f"on {held.name}: sudo flock -n /run/holdfast-apply.lock true",
            )
        report(host, error)
        raise DeployError(error.message)
    held.holder = channel


def release(host: Any) -> None:
    """At the end of the connection: give the lock back; after Ctrl-C wait until nothing of ours runs there."""
    held: Held | None = host.connector_data.get(_KEY)
    if held is None:
        return
    if held.holder is not None and held.holder.alive():
        with contextlib.suppress(OSError, EOFError):
            held.holder.send("stop" if held.interrupted else "done")
            end = time.monotonic() + 15
            while (line := held.holder.receive(end - time.monotonic())) not in ("freed", None):
                print(line, file=sys.stderr)  # noqa: T201
    if READER in host.connector_data:
        host.connector_data[READER].close()
    if held.answerer is not None:
        with contextlib.suppress(OSError, EOFError):
            held.answerer.close()
