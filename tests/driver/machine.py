"""The Debian 13 machine of this folder: what it is asked, and what an apply of its page (deploy.py) told."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.driver import hardware

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.machine import Machine
from holdfast.errors import HoldfastError
from holdfast.lab import Lab
from holdfast.operations.remote import program

Heard = Callable[[dict[str, Any]], object]
PAGE = "tests/driver/deploy.py"
# In the lab's own site a card is not required: nothing here drives one.
REQUIRED = {"require_gpu": True}


@dataclass
class Told:
    """One apply or plan: ``result`` None and ``error`` given where it failed; ``notes`` and what was ``waited`` for."""

    result: Result | None = None
    error: HoldfastError | None = None
    notes: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def changed(self) -> list[str]:
        assert self.result is not None, self.error
        return self.result.changed

    @property
    def driver_changed(self) -> list[str]:
        return [name for name in self.changed if name.startswith("NVIDIA")]

    @property
    def driver_notes(self) -> str:
        return "\n".join(note for note in self.notes if note.startswith("nvidia: "))


class DriverMachine(Lab):
    """A lab with FAKE cards on its bus (hardware.py)."""

    def __init__(self, name: str, logs: Path, base: Path | None = None) -> None:
        super().__init__(name, "trixie", binds=hardware.bus(), base=base)
        self.logs = logs

    def root(self, script: str, timeout: float = 3600, status: int | None = 0) -> str:
        """What a shell script prints as root; it must end with ``status`` (None: with any)."""
        done = self.shell(script, timeout)
        assert status is None or done.returncode == status, (
            f"{script[:300]}\n{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout

    def shell(self, script: str, timeout: float = 3600) -> subprocess.CompletedProcess[str]:
        return self.ssh(["sudo", "sh", "-s"], input=script, timeout=timeout)

    def read(self, reader: Callable[..., Any]) -> Any:
        """What a reader of the component finds on the machine."""
        done = self.ssh(["sudo", "python3", "-I", "-S", "-"], input=program(reader, root="/"), timeout=120)
        assert done.returncode == 0, done.stderr[-1500:]
        return json.loads(done.stdout)

    def facts(self) -> Machine:
        return from_json(self.read(read_machine))

    def boot_id(self) -> str:
        return self.ssh(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def apply(self, heard: Heard | None = None, **values: Any) -> Told:
        """`./holdfast up` of the page, with ``--set`` (a__b for a.b); a failure is told, not raised. ``heard`` is called with
        every event as it comes."""
        return self._run(runner.apply, values, heard)

    def applied(self, heard: Heard | None = None, **values: Any) -> Told:
        """The same, and it must end well."""
        told = self.apply(heard, **values)
        assert told.error is None, told.error.render()
        return told

    def plan(self, **values: Any) -> Told:
        return self._run(runner.plan, values, None)

    def _run(self, verb: Any, values: Mapping[str, Any], heard: Heard | None) -> Told:
        told, handle = Told(), runner.handle

        def spy(event: dict[str, Any], *rest: Any) -> None:
            if event["event"] == "note":
                told.notes.append(str(event.get("message", "")))
            if event["event"] == "waiting" and event.get("what") not in told.waited:
                told.waited.append(str(event.get("what", "")))
            if heard is not None:
                heard(event)
            handle(event, *rest)

        start = time.monotonic()
        dotted = {key.replace("__", "."): value for key, value in values.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "handle", spy)
            try:
                told.result = verb(self.name, log=self.logs / "apply.log", values=dotted, deploy=PAGE)
            except HoldfastError as error:
                told.error = error
        told.seconds = time.monotonic() - start
        return told


def states(machine: DriverMachine, names: Sequence[str]) -> dict[str, str]:
    """The two letters of `dpkg -l`; "" for a package that is unknown."""
    said = machine.root(f"dpkg-query -W -f '${{Package}} ${{db:Status-Abbrev}}\\n' {' '.join(names)} 2>/dev/null || true")
    found = dict(line.split()[:2] for line in said.splitlines() if len(line.split()) > 1)
    return {name: found.get(name, "") for name in names}
