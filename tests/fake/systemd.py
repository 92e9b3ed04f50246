"""systemd: units are started with the text and the environment that lie on the disk at that moment, and keep them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fake.machine import Failed, Inode, Machine, Process, Unit, hears, runs

from holdfast.operations.answers import read_answer
from holdfast.operations.unit import read_unit

ETC, LIB = "/etc/systemd/system", "/lib/systemd/system"
# Program of an ExecStartPre -> writes(machine, unit, its text) -> {path: text}
BEFORE: dict[str, Callable[[Machine, str, str], dict[str, str]]] = {}
# Unit, or template -> what happens once it runs.
STARTED: dict[str, Callable[[Machine, str], None]] = {}
# Who answers HTTP: (machine, url) -> status, 0 for nobody.
SERVERS: list[Callable[[Machine, str], int]] = []


def template(unit: str) -> str:
    name, at, _ = unit.partition("@")
    return f"{name}@.service" if at else unit


def instance(unit: str) -> str:
    return unit.removesuffix(".service").partition("@")[2]


def files(m: Machine, unit: str) -> list[str]:
    """The unit's file and its drop-ins, as systemd finds them."""
    names = dict.fromkeys([unit, template(unit)])
    main = next((p for n in names for p in (f"{ETC}/{n}", f"{LIB}/{n}") if p in m.disk), "")
    return [p for p in [main] if p] + sorted(p for n in names for p in m.disk if p.startswith(f"{ETC}/{n}.d/"))


def text(m: Machine, unit: str) -> str:
    return "".join(m.text(path) or "" for path in files(m, unit))


def sources(m: Machine, unit: str) -> list[str]:
    """Everything that a start of the unit reads: its files and its environment files."""
    named = re.findall(r"^EnvironmentFile=-?(\S+)$", text(m, unit).replace("%i", instance(unit)), re.M)
    return [*files(m, unit), *named]


def masked(m: Machine, unit: str) -> bool:
    node = m.disk.get(f"{ETC}/{unit}")
    return node is not None and node.target == "/dev/null"


def fresh(m: Machine, unit: str, body: str | None = None) -> Process:
    """What the unit's process would be if it were started now, from its files or from ``body``, which systemd has loaded.

    Raises Failed with systemd's reason.
    """
    body = text(m, unit) if body is None else body
    lines = body.splitlines()
    if not lines:
        raise Failed(f"Failed to start {unit}: Unit {unit} not found.")
    extra: dict[str, str] = {}
    env: dict[str, str] = {}
    program = ""
    for line in lines:
        key, _, value = line.partition("=")
        if key == "ExecStartPre":
            script = next(word for word in value.split() if word.endswith(".py"))
            run(m, value.lstrip("+-"), unit)
            extra |= BEFORE[script.rpartition("/")[2]](m, unit, body)
    for line in lines:
        key, _, value = line.partition("=")
        if key == "User" and value not in m.accounts:
            raise Failed(f"{unit}: Failed to determine user credentials: No such process (status=217/USER)")
        if key == "Environment":
            env |= dict(pair.split("=", 1) for pair in shlex.split(value))
        if key == "EnvironmentFile":
            path = value.lstrip("-").replace("%i", instance(unit))
            content = extra.get(path, m.text(path))
            if content is None and not value.startswith("-"):
                raise Failed(f"{unit}: Failed to load environment files: No such file or directory ({path})")
            env |= pairs(content or "")
        if key == "ExecStart":
            # An empty one in a drop-in takes back what the unit says.
            program = run(m, value, unit) if value else ""
    return Process(body, tuple(sorted(env.items())), program)


def pairs(content: str) -> dict[str, str]:
    """An EnvironmentFile's."""
    lines = [line for line in content.splitlines() if line.strip() and not line.startswith("#")]
    return {k: v.strip("\"'") for k, _, v in (line.partition("=") for line in lines)}


def run(m: Machine, line: str, unit: str) -> str:
    """Which program ``line`` starts, versions included. Raises Failed where it is not there."""
    words = line.split()
    out = []
    for word in [words[0], *(w for w in words[1:] if w.endswith(".py"))]:
        if word == "/usr/bin/python3":
            found = "python3" if "python3" in m.packages else ""
        elif word == "/usr/bin/nsenter":
            found = "util-linux"  # essential
        elif word.startswith("/usr/sbin/"):
            found = m.packages.get(word.rpartition("/")[2].removesuffix("d"), "")
        else:
            found = m.resolve(word) if m.text(word) is not None else ""
        if not found:
            raise Failed(f"{unit}: Unable to locate executable '{word}' (status=203/EXEC)")
        out.append(found)
    return " ".join(out)


def stale(m: Machine) -> list[str]:
    """Units that run with anything else than what a fresh start would give them."""
    running = {name: unit.process for name, unit in m.units.items() if unit.process}
    return [name for name, process in running.items() if process.lasting() != fresh(m, name).lasting()]


def start(m: Machine, unit: str) -> None:
    if masked(m, unit):
        raise Failed(f"Failed to start {unit}: Unit {unit} is masked.")
    # Without a daemon-reload a unit that is loaded starts from what was loaded, whatever lies on the disk.
    body = m.loaded[unit][1] if unit in m.loaded else text(m, unit)
    process = fresh(m, unit, body)
    said = dict(line.split("=", 1) for line in body.splitlines() if "=" in line)
    if said.get("RuntimeDirectoryPreserve") == "yes":  # the others go with the unit, and nobody looks at them
        mode = said.get("RuntimeDirectoryMode", "0755").lstrip("0")
        owner, group = said.get("User", "root"), said.get("Group", "root")
        m.put(f"/run/{said['RuntimeDirectory']}", Inode("directory", mode, owner, group))
    for line in body.splitlines():
        if line.startswith("ExecStartPre="):
            script = next(word for word in line.split() if word.endswith(".py"))
            for path, content in BEFORE[script.rpartition("/")[2]](m, unit, body).items():
                m.write(path, content)
    m.units[unit] = replace(m.units.get(unit, Unit()), state="active", process=process)
    m.loaded.setdefault(unit, load(m, unit))
    m.starts[unit] += 1
    m.clock += 1
    m.since[unit] = m.clock
    STARTED.get(template(unit), lambda m, unit: None)(m, unit)


def taken(m: Machine, unit: str) -> None:
    """Raises Failed where another unit's process has the port already."""
    process = m.units[unit].process
    address = dict(process.env).get("OLLAMA_HOST") if process else None
    for name, other in m.units.items():
        if address and name != unit and other.process and dict(other.process.env).get("OLLAMA_HOST") == address:
            stop(m, unit, "failed")
            raise Failed(f"{unit}: listen tcp {address}: bind: address already in use (status=1/FAILURE)")


def stop(m: Machine, unit: str, state: str = "inactive") -> None:
    m.units[unit] = replace(m.units.get(unit, Unit()), state=state, process=None)
    m.loaded.pop(unit, None)


def load(m: Machine, unit: str) -> tuple[list[tuple[str, int]], str]:
    return [(p, m.stamps[p]) for p in files(m, unit)], text(m, unit)


def reload(m: Machine) -> None:
    m.loaded = {unit: load(m, unit) for unit in m.loaded}


def act(m: Machine, verb: str, unit: str) -> None:
    """One systemctl verb."""
    known = m.units.get(unit, Unit())
    m.change(f"systemctl {verb} {unit}".strip())
    if verb == "daemon-reload":
        reload(m)
    elif verb == "unmask":
        if masked(m, unit):
            m.remove(f"{ETC}/{unit}")
    elif verb in ("enable", "disable"):
        if not files(m, unit):
            raise Failed(f"Failed to {verb} unit: Unit file {unit} does not exist.")
        m.units[unit] = replace(known, enabled=verb == "enable")
    elif verb == "reset-failed":
        m.units[unit] = replace(known, state="inactive") if known.state == "failed" else known
    elif verb == "stop":
        stop(m, unit)
    elif verb == "restart" or known.state != "active":
        start(m, unit)
        taken(m, unit)


@hears(r"^(set -e; )?systemctl ")
def systemctl(m: Machine, found: re.Match[str], stdin: str) -> None:
    # What stands in braces is only run after a failure.
    line = re.sub(r"\{.*?\}( >&2)?", "", found.string)
    verbs = "daemon-reload|enable|disable|start|restart|stop|reset-failed|unmask"
    for verb, unit in re.findall(rf"systemctl(?: --\S+)* ({verbs})(?: ([\w@.-]+))?", line):
        act(m, verb, unit)


@runs(read_unit)
def look(m: Machine, unit: str, program: str = "") -> Any:
    known, there = m.units.get(unit, Unit()), files(m, unit)
    paths = sources(m, unit)
    edited = unit in m.loaded and m.loaded[unit] != load(m, unit)
    out: dict[str, Any] = {
        "LoadState": "masked" if masked(m, unit) else "loaded" if any(".d/" not in path for path in there) else "not-found",
        "ActiveState": known.state, "Result": "exit-code" if known.state == "failed" else "success",
        "UnitFileState": "masked" if masked(m, unit) else "" if not there else "enabled" if known.enabled else "disabled",
        "NeedDaemonReload": "yes" if edited else "no",
        "MainPID": "4711" if known.process else "0",
        "stale": [p for p in paths if known.process and p in m.disk and m.stamps[p] > m.since[unit]],
        "config": dict(known.process.env).get("HOLDFAST_CONFIG", "") if known.process else "",
    }
    if program and known.process and m.resolve(program) not in known.process.program.split():
        out["stale"].append(program)
    return out | ({"masked": "yes"} if masked(m, unit) else {})


@runs(read_answer)
def answer(m: Machine, url: str, unit: str) -> Any:
    status = max(server(m, url) for server in SERVERS)
    return {"status": status, "active": m.units.get(unit, Unit()).state, "journal": ""}
