"""Running a small program on the machine from here, over ssh (or right here for ``local: true``)."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError
from holdfast.paths import state_dir
from holdfast.settings.workstation import Workstation

if TYPE_CHECKING:
    # It brings pyinfra along, which most verbs do not need in this process.
    from holdfast.operations.remote import PythonFact

# As long as pyinfra waits (its CONNECT_TIMEOUT).
CONNECT_S = 10


def ssh_words(ws: Workstation) -> list[str]:
    """``ssh`` with what the settings say; the rest comes from ~/.ssh/config. Never asks."""
    ssh = ws.ssh
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"]
    words += ["-F", ssh.config_file] if ssh.config_file else ["-o", "StrictHostKeyChecking=accept-new"]
    words += ["-p", str(ssh.port)] if ssh.port else []
    words += ["-i", ssh.key_file] if ssh.key_file else []
    words += ["-l", ssh.user] if ssh.user else []
    return [*words, ssh.hostname or ws.name]


def config_file(ws: Workstation) -> str | None:
    """An ssh_config with which ``ssh -F FILE NAME`` logs in: the host's own, else one made of its settings here. None for
    this very computer."""
    ssh = ws.ssh
    if ws.local or ssh.config_file:
        return ssh.config_file or None
    given = {"HostName": ssh.hostname, "User": ssh.user, "Port": ssh.port or "", "IdentityFile": ssh.key_file}
    lines = [
        f"Host {ws.name}",
        *(f"  {key} {value}" for key, value in given.items() if value),
        "Host *",
        "  Include ~/.ssh/config",
    ]
    file = state_dir() / "ssh" / f"{ws.name}.conf"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return str(file)


def run(
    ws: Workstation, command: Sequence[str], *, input: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` as the login user. Raises HoldfastError when the machine is not reached."""
    words = list(command) if ws.local else [*ssh_words(ws), shlex.join(command)]
    try:
        done = subprocess.run(words, input=input, capture_output=True, text=True, errors="replace", timeout=timeout)
    except FileNotFoundError:
        raise HoldfastError(f"{words[0]} is not installed here", fix="apt-get install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise HoldfastError(f"{ws.name} did not answer within {timeout:g} s", fix=f"is it up? {ws.login}") from None
    if done.returncode == 255 and not ws.local:
        said = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise HoldfastError(f"{ws.name} cannot be reached: {said[0]}", fix=f"can you log in yourself? {ws.login}")
    return done


def fact(ws: Workstation, kind: type[PythonFact], *, timeout: float = 120, **arguments: Any) -> Any:
    """What ``kind.read(host, …)`` says, in one ssh of the login user and without pyinfra. ``timeout`` in seconds.

    Raises HoldfastError when the machine is not reached or does not answer.
    """
    python = sys.executable if ws.local else "python3"
    done = run(ws, [python, "-I", "-S", "-"], input=kind.source(**arguments), timeout=timeout)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        fix = f"look there: {ws.login}"
        raise HoldfastError(f"{ws.name} gave no answer to a question of ours: {said}", fix=fix) from None
