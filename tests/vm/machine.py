"""The virtual machine of these tests: what it is asked, and what an apply of one of its pages told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.machine import Machine
from holdfast.lab.vm.lab import VmLab
from holdfast.operations.remote import program
from holdfast.settings import Workstation, load

NAME = os.environ.get("HOLDFAST_TEST_VM_LAB", "vm")
# The workstation as far as it needs a kernel; and the driver alone, as Ollama without CUDA refuses a machine with cards.
SMALL, DRIVER = "tests/vm/small.py", "tests/driver/deploy.py"
Heard = Callable[[dict[str, Any]], object]


@dataclass
class Told:
    """One apply that went well: its result, its notes, and what was waited for."""

    result: Result
    notes: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)


class VmMachine(VmLab):
    """A lab that becomes a virtual machine."""

    def __init__(self, name: str, logs: Path, base: Path) -> None:
        super().__init__(name, "trixie", base=base)
        self.logs = logs

    @property
    def settings(self) -> Workstation:
        return load(self.name)

    def root(self, script: str, timeout: float = 600, status: int | None = 0) -> str:
        """What a shell script prints as root, errors included; it must end with ``status`` (None: with any)."""
        done = self.ssh(["sudo", "sh", "-s"], input=f"exec 2>&1\n{script}", timeout=timeout)
        assert status is None or done.returncode == status, f"{script[:300]}\n{done.returncode}\n{done.stdout[-2000:]}"
        return done.stdout

    def kernel(self) -> str:
        return self.root("uname -r").strip()

    def boot_id(self) -> str:
        return self.root("cat /proc/sys/kernel/random/boot_id").strip()

    def booted(self) -> list[str]:
        """The kernels that qemu was started with so far, as its supply has noted."""
        log = (self.layout.logs / "machine.log").read_text(errors="replace")
        return [line.split()[1] for line in log.splitlines() if line.startswith("boots ")]

    def driver(self) -> Machine:
        """What the component's own reader finds."""
        done = self.ssh(["sudo", "python3", "-I", "-S", "-"], input=program(read_machine, root="/"), timeout=300)
        assert done.returncode == 0, done.stderr[-1500:]
        return from_json(json.loads(done.stdout))

    def says(self, role: str) -> str:
        """What the role's model answers, asked on the workstation itself."""
        instance = self.settings.instances[role]
        body = json.dumps({"model": instance.model, "prompt": "Who are you?", "stream": False})
        done = self.ssh(["curl", "-sS", "-m", "300", "-d", "@-", f"http://127.0.0.1:{instance.port}/api/generate"],
                        input=body, timeout=330)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["response"])

    def apply(self, page: str, values: Mapping[str, Any] | None = None, heard: Heard | None = None) -> Told:
        """`./holdfast up` of a page, with ``--set``; ``heard`` is called with every event of it. Raises as it does."""
        notes: list[str] = []
        waited: list[str] = []
        handle = runner.handle

        def spy(event: dict[str, Any], *rest: Any) -> None:
            if event["event"] == "note":
                notes.append(str(event.get("message", "")))
            if event["event"] == "waiting" and event.get("what") not in waited:
                waited.append(str(event.get("what", "")))
            if heard is not None:
                heard(event)
            handle(event, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "handle", spy)
            result = runner.apply(self.name, log=self.logs / "apply.log", values=values, deploy=page)
        return Told(result, notes, waited)
