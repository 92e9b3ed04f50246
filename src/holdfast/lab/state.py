"""What is known of a lab: one JSON file in its folder, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.lab.layout import Layout, labs_dir
from holdfast.lab.processes import Process, alive


@dataclass
class LabState:
    """A lab that has come up.

    ``site`` is its block of hosts.yml; ``lan`` has ipv4, ipv6 and link_local of the workstation; ``tailnet`` its name,
    ipv4 and ipv6 (empty until it has joined) and control_url; ``models`` the sentence each role answers;
    ``vm`` what its virtual machine runs with, "kvm" or "tcg" ("": systemd-nspawn).
    """

    name: str
    nonce: str
    release: str
    ssh_config: str
    site: dict[str, Any]
    namespaces: dict[str, str]
    lan: dict[str, str]
    tailnet: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    vm: str = ""

    def process(self, role: str) -> Process | None:
        """The newest process of a role."""
        return next((p for p in reversed(self.processes) if p.role == role), None)


def write(path: Path, data: object) -> None:
    """Write JSON so that a reader sees the old or the new text, never half of one."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(data, indent=1) + "\n")
    new.chmod(0o600)
    os.replace(new, path)


def save(state: LabState) -> None:
    write(Layout(state.name).state, asdict(state))


def read(name: str) -> LabState | None:
    """The state as written, whether the lab lives or not."""
    try:
        data = json.loads(Layout(name).state.read_text())
        data["processes"] = [Process(**p) for p in data["processes"]]
        return LabState(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def load(name: str) -> LabState | None:
    """The state of a lab whose machine lives, else None."""
    state = read(name)
    machine = state.process("machine") if state else None
    return state if machine is not None and alive(machine) else None


def nonce(name: str) -> str:
    """The nonce of a lab that was begun, also of one that never came up; empty when there is none."""
    try:
        found = json.loads(Layout(name).intent.read_text())["nonce"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def names() -> list[str]:
    """The labs that have a folder, whole or not."""
    if not labs_dir().is_dir():
        return []
    return sorted(e.name for e in labs_dir().iterdir() if e.is_dir() and not e.name.startswith("."))


def running() -> list[LabState]:
    """All labs of this user whose machine lives."""
    return [state for name in names() if (state := load(name)) is not None]
