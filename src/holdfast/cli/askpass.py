"""Being root on the machine for programs other than pyinfra, where sudo asks for a password there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from holdfast.apply.channel import LocalChannel
from holdfast.cli import remote
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.settings.workstation import Workstation

PATIENCE_S = 10.0


@contextmanager
def answering(ws: Workstation, progress: Shown, password: str = "") -> Iterator[tuple[bool, dict[str, str]]]:
    """While open, sudo on the machine is answered (apply/sudo.py). Yields whether sudo is needed at all, and what to put into
    the environment of a program that uses it. ``password`` is one that was right a moment ago; else the person is asked.
    """
    # Late: they bring pyinfra along.
    from holdfast.apply import sudo
    from holdfast.apply.login import SOURCE, parse

    account = parse(remote.run(ws, ["sh", "-s"], input=SOURCE).stdout.splitlines())
    if account.sudo in ("root", "free"):
        yield account.sudo == "free", {}
        return
    if account.sudo == "missing":
        raise HoldfastError(f"{account.user} on {ws.name} is not root, and sudo is not installed there", fix="log in as root")
    asker, opener = Asker(progress), partial(open_channel, ws)

    def ask(user: str, host: str, again: bool) -> str:
        return password if password and not again else asker(user, host, again)

    keeper, path = sudo.keep(opener, ws.name, account, sudo.obtain(opener, ws.name, account, ask))
    try:
        yield True, {"HOLDFAST_ASKPASS": path}
    finally:
        keeper.end(PATIENCE_S)


def open_channel(ws: Workstation, command: str) -> LocalChannel:
    """Start ``command`` (a line for the login shell) on the machine, with its stdin and stdout here."""
    return LocalChannel(command if ws.local else shlex.join([*remote.ssh_words(ws), command]))
