"""Open WebUI's own operations: secrets made on the machine, the first administrator, the address it answers under."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.components.open_webui.facts import Credentials, Drift
from holdfast.operations.remote import program, python_command


def make_credentials(folder: str, database: str, email: str, person: str) -> Any:
    """Runs on the host: make what is missing. What exists keeps its content; its mode and owner are set right."""
    import os
    import secrets
    import stat

    def keep(name: str, make: Any) -> str:
        path = os.path.join(folder, name)
        try:
            whole = stat.S_ISREG(os.lstat(path).st_mode) and os.path.getsize(path) > 0
        except OSError:
            whole = False
        if not whole:
            new = os.path.join(folder, ".new-" + name)
            if os.path.lexists(new):
                os.unlink(new)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                f.write(make())
                f.flush()
                os.fsync(f.fileno())
            os.replace(new, path)
        os.chown(path, 0, 0)
        os.chmod(path, 0o600)
        with open(path) as f:
            return f.read().strip()

    keep("secret.env", lambda: "WEBUI_SECRET_KEY=" + secrets.token_hex(32) + "\n")
    # 20 of 62 letters and digits: 119 bit, below bcrypt's 72 bytes, no character that needs care anywhere.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    bootstrap, password_file = os.path.join(folder, "bootstrap.env"), os.path.join(folder, "admin-password")
    first = not os.path.exists(database) or os.path.lexists(bootstrap)
    # Once the account is there, its owner may take the file away: a new one would hold a password that opens nothing.
    password = ""
    if first or os.path.lexists(password_file):
        password = keep("admin-password", lambda: "".join(secrets.choice(letters) for _ in range(20)) + "\n")
    if first:
        if os.path.lexists(bootstrap):
            os.unlink(bootstrap)
        lines = [f'WEBUI_ADMIN_EMAIL="{email}"', f'WEBUI_ADMIN_NAME="{person}"', f'WEBUI_ADMIN_PASSWORD="{password}"']
        keep("bootstrap.env", lambda: "\n".join(lines) + "\n")
    return "made"


@operation()
def credentials(folder: str, database: str, email: str, person: str) -> Iterator[StringCommand]:
    """Make the secret key and, while there is no database, the first administrator's password; on the machine itself.

    Neither ever leaves it. The password stays in ``folder``/admin-password (root, 0600) to be read once by its owner.
    """
    found = Credentials.read(host, folder=folder, database=database) or {}
    settled = found.get("database") and found.get("bootstrap") is None
    first = found.get("password") and found.get("bootstrap")
    if found.get("secret") and (found.get("password") is not False if settled else first):
        host.noop("secret key and password are there")
        return
    source = program(make_credentials, folder=folder, database=database, email=email, person=person)
    yield python_command(source)


def remove_bootstrap(path: str, url: str) -> Any:
    """Runs on the host: once an account exists, the file that made it goes."""
    import json
    import os
    import sys
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url + "/api/config", timeout=30) as answer:
        if json.load(answer).get("onboarding"):
            sys.exit("error: Open WebUI runs without any account. Fix: journalctl -u open-webui -b")
    if os.path.lexists(path):
        os.unlink(path)
    return "removed"


@operation()
def retire_bootstrap(folder: str, database: str, url: str) -> Iterator[StringCommand]:
    """Remove the first administrator's start-up file as soon as the account is there."""
    found = Credentials.read(host, folder=folder, database=database) or {}
    if found.get("database") and found.get("bootstrap") is None:
        host.noop("the first administrator's file is gone")
        return
    yield python_command(program(remove_bootstrap, path=f"{folder}/bootstrap.env", url=url))


@operation()
def as_started_now(
    unit: str, origin: str, port: int, extra: list[str], secret_file: str, files: list[str]
) -> Iterator[StringCommand]:
    """Restart ``unit`` when a start now would give it another address, key, unit, environment or program.

    By state, not by what happened before: the tailnet's name may come, or change, long after the first start.
    """
    given = {"origin": origin, "port": port, "extra": extra, "unit": unit, "secret_file": secret_file, "files": files}
    if not (Drift.read(host, **given) or {}).get("differs"):
        host.noop(f"{unit} runs with what is on the machine")
        return
    name = shlex.quote(unit)
    yield StringCommand(f"systemctl restart {name} || {{ journalctl -u {name} -n 15 --no-pager -o cat >&2; exit 1; }}")
