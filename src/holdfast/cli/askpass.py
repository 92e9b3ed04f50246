"""Being root on the machine for programs other than pyinfra, where sudo asks for a password there."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from holdfast.cli import remote
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.settings.workstation import Workstation

PATIENCE_S = 10.0


@contextmanager
def answering(ws: Workstation, progress: Shown, password: str = "") -> Iterator[tuple[bool, dict[str, str]]]:
    """While open, sudo on the machine is answered. Yields whether sudo is needed at all, and what to put into the
    environment of a program that uses it. ``password`` is one that was right a moment ago; else the person is asked.
    """
    # Late: it brings pyinfra along.
    from holdfast.apply.login import SOURCE, parse

    account = parse(remote.run(ws, ["sh", "-s"], input=SOURCE).stdout.splitlines())
    if account.sudo in ("root", "free"):
        yield account.sudo == "free", {}
        return
    if account.sudo == "missing":
        raise HoldfastError(f"{account.user} on {ws.name} is not root, and sudo is not installed there", fix="log in as root")
    right = _right_one(ws, progress, account.user, password)
    keeper = _start(ws, account.tmp, right)
    try:
        assert keeper.stdout is not None
        path = keeper.stdout.readline().decode().strip()
        if not path:
            raise HoldfastError(f"sudo's askpass program did not start on {ws.name}", fix=f"is there room in {account.tmp}?")
        yield True, {"HOLDFAST_ASKPASS": path}
    finally:
        _end(keeper)


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """Never raises: what happened meanwhile is what the person must see."""
    assert keeper.stdin is not None
    with suppress(OSError):
        keeper.stdin.close()
    try:
        keeper.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _right_one(ws: Workstation, progress: Shown, user: str, password: str) -> str:
    from holdfast.apply.sudo import TRIES

    asker = Asker(progress)
    for attempt in range(TRIES):
        password = password or asker(user, ws.name, attempt > 0)
        if not password:
            break
        if remote.run(ws, ["sudo", "-k", "-S", "-p", "", "true"], input=password + "\n").returncode == 0:
            return password
        password = ""
    raise HoldfastError(
        f"sudo on {ws.name} asks {user} for a password and did not get the right one", fix="run it in a terminal"
    )


def _start(ws: Workstation, tmp: str, password: str) -> subprocess.Popen[bytes]:
    """apply/askpass.sh on the machine, with the password by stdin; it ends when its stdin does."""
    from holdfast.apply.channel import SCRIPTS

    words = ["sh", "-c", (SCRIPTS / "askpass.sh").read_text(), "holdfast-askpass", tmp]
    argv = words if ws.local else [*remote.ssh_words(ws), shlex.join(words)]
    keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert keeper.stdin is not None
    keeper.stdin.write(password.encode() + b"\n")
    keeper.stdin.flush()
    return keeper
