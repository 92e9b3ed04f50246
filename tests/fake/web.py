"""Open WebUI: its secrets, its first administrator, and the addresses that it answers under."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from tests.fake import tailnet
from tests.fake.machine import Failed, Inode, Machine, Unit, runs
from tests.fake.systemd import BEFORE, SERVERS, STARTED, pairs

from holdfast.components.open_webui.facts import read_credentials, read_drift
from holdfast.components.open_webui.files import DATABASE
from holdfast.components.open_webui.operations import make_credentials, remove_bootstrap
from holdfast.paths import ONHOST

UNIT = "open-webui.service"
ORIGIN = (ONHOST / "origin.py").read_text("utf-8")
RUN = "/run/holdfast/open-webui/origin.env"


@runs(read_credentials)
def look(m: Machine, folder: str, database: str) -> Any:
    def private(name: str) -> bool | None:
        node = m.disk.get(f"{folder}/{name}")
        if node is None:
            return None
        return (node.kind, node.mode, node.user, node.group) == ("file", "600", "root", "root") and bool(node.data)

    return {
        "secret": private("secret.env"), "password": private("admin-password"), "bootstrap": private("bootstrap.env"),
        "database": database in m.disk,
    }  # fmt: skip


@runs(make_credentials)
def make(m: Machine, folder: str, database: str, email: str, person: str) -> str:
    """What is made anew is another one: a secret that was thrown away shows."""

    def keep(name: str, content: str) -> str:
        path = f"{folder}/{name}"
        there = m.disk.get(path)
        if there is None or there.kind != "file" or not there.data:
            m.change(f"make {path}")
            m.made[name] += 1
            m.put(path, Inode("file", "600", data=content.replace("#", str(m.made[name])).encode()))
        elif (there.mode, there.user, there.group) != ("600", "root", "root"):
            m.change(f"close {path}")
            m.put(path, replace(there, mode="600", user="root", group="root"))
        return (m.text(path) or "").strip()

    keep("secret.env", "WEBUI_SECRET_KEY=secret-#\n")
    bootstrap, password = f"{folder}/bootstrap.env", ""
    first = database not in m.disk or bootstrap in m.disk
    if first or f"{folder}/admin-password" in m.disk:
        password = keep("admin-password", "password-#\n")
    if first:
        m.remove(bootstrap)
        keep("bootstrap.env", f'WEBUI_ADMIN_EMAIL="{email}"\nWEBUI_ADMIN_NAME="{person}"\nWEBUI_ADMIN_PASSWORD="{password}"\n')
    return "made"


@functools.cache
def _compiled(source: str) -> Any:
    return compile(source, "origin.py", "exec")


def origin(m: Machine, port: int, extra: list[str], source: str = ORIGIN) -> dict[str, str]:
    """The real origin.py, with this machine's tailscale."""
    scope: dict[str, Any] = {"__name__": "origin"}
    exec(_compiled(source), scope)

    def ask(*words: str) -> dict[str, Any]:
        if not tailnet.running(m):
            return {}
        return m.tailnet.serve if words[0] == "serve" else tailnet.status(m)

    scope["tailscale"] = ask
    return dict(scope["wanted"](port, extra, 0, "/nonexistent")[0])


def before(m: Machine, unit: str, body: str) -> dict[str, str]:
    line = next(line for line in body.splitlines() if "origin.py" in line)
    words = line.split()
    extra = [words[i + 1] for i, word in enumerate(words) if word == "--extra"]
    values = origin(m, int(words[words.index("--port") + 1]), extra)
    return {RUN: "".join(f'{k}="{v}"\n' for k, v in values.items())}


def started(m: Machine, unit: str) -> None:
    """The first start makes the database, and in it the account that the environment describes."""
    m.slow[unit] = 1
    if DATABASE not in m.disk:
        env = dict(m.units[unit].process.env)  # type: ignore[union-attr]
        m.write(DATABASE, f"account: {env.get('WEBUI_ADMIN_PASSWORD', 'none')}", "600")


def serve(m: Machine, url: str) -> int:
    """Answers not at once, but the second time it is asked."""
    unit = m.units.get(UNIT, Unit())
    if not unit.process or f" --port {url.split(':')[2].partition('/')[0]}\n" not in unit.process.text:
        return 0
    m.slow[UNIT] -= 1
    return 200 if m.slow[UNIT] < 0 else 503


BEFORE["origin.py"] = before
STARTED[UNIT] = started
SERVERS.append(serve)


@runs(read_drift)
def drift(m: Machine, origin: str, port: int, extra: list[str], unit: str, secret_file: str, files: list[str]) -> Any:
    process = m.units.get(unit, Unit()).process
    if process is None:
        return {"running": False, "differs": []}
    wanted = globals()["origin"](m, port, extra, origin) | pairs(m.text(secret_file) or "")
    running = dict(process.env)
    differs = sorted(k for k, v in wanted.items() if running.get(k) != v)
    differs += [path for path in files if path in m.disk and m.stamps[path] > m.since[unit]]
    return {"running": True, "differs": differs}


@runs(remove_bootstrap)
def retire(m: Machine, path: str, url: str) -> str:
    if m.units.get(UNIT, Unit()).process is None:
        raise Failed("urllib.error.URLError: <urlopen error [Errno 111] Connection refused>")
    if (m.text(DATABASE) or "").endswith("none"):
        raise Failed("error: Open WebUI runs without any account. Fix: journalctl -u open-webui -b")
    m.change(f"remove {path}")
    m.remove(path)
    return "removed"

