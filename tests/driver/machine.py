"""The Debian 13 machine of this folder: what it is asked, and what an apply of its page (deploy.py) told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.asked import Heard, Told, boot_id, listen, root, shell
from tests.driver import hardware

from holdfast.apply import run as runner
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.machine import Machine
from holdfast.lab import Lab
from holdfast.operations.remote import program

PAGE = "tests/driver/deploy.py"
# In the lab's own site a card is not required: nothing here drives one.
REQUIRED = {"require_gpu": True}


class DriverMachine(Lab):
    """A lab with FAKE cards on its bus (hardware.py)."""

    def __init__(self, name: str, logs: Path, base: Path | None = None) -> None:
        super().__init__(name, "trixie", binds=hardware.bus(), base=base)
        self.logs = logs

    def root(self, script: str, timeout: float = 3600, status: int | None = 0) -> str:
        """What a shell script prints as root; it must end with ``status`` (None: with any)."""
        return root(self, script, timeout, status)

    def shell(self, script: str, timeout: float = 3600) -> subprocess.CompletedProcess[str]:
        return shell(self, script, timeout)

    def read(self, reader: Callable[..., Any]) -> Any:
        """What a reader of the component finds on the machine."""
        done = self.ssh(["sudo", "python3", "-I", "-S", "-"], input=program(reader, root="/"), timeout=120)
        assert done.returncode == 0, done.stderr[-1500:]
        return json.loads(done.stdout)

    def facts(self) -> Machine:
        return from_json(self.read(read_machine))

    def boot_id(self) -> str:
        return boot_id(self)

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
        dotted = {key.replace("__", "."): value for key, value in values.items()}
        return listen(verb, self.name, heard, log=self.logs / "apply.log", values=dotted, deploy=PAGE)


def states(machine: DriverMachine, names: Sequence[str]) -> dict[str, str]:
    """The two letters of `dpkg -l`; "" for a package that is unknown."""
    said = machine.root(f"dpkg-query -W -f '${{Package}} ${{db:Status-Abbrev}}\\n' {' '.join(names)} 2>/dev/null || true")
    found = dict(line.split()[:2] for line in said.splitlines() if len(line.split()) > 1)
    return {name: found.get(name, "") for name in names}
