"""The virtual machine of these tests: what it is asked, and what an apply of one of its pages told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.asked import Heard, Told, boot_id, listen, root

from holdfast.apply import run as runner
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.machine import Machine
from holdfast.lab.vm.lab import VmLab
from holdfast.operations.remote import program
from holdfast.settings import Workstation, load

NAME = os.environ.get("HOLDFAST_TEST_VM_LAB", "vm")
# The workstation as far as it needs a kernel; and the driver alone, as Ollama without CUDA refuses a machine with cards.
SMALL, DRIVER = "tests/vm/small.py", "tests/driver/deploy.py"


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
        return root(self, f"exec 2>&1\n{script}", timeout, status)

    def kernel(self) -> str:
        return self.root("uname -r").strip()

    def boot_id(self) -> str:
        return boot_id(self)

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
        told = listen(runner.apply, self.name, heard, log=self.logs / "apply.log", values=values, deploy=page)
        assert told.well
        return told
