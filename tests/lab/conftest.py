"""The machine that all tests in this folder share: the lab "test", bare (`lab`) or provisioned (`workstation`). Needs root.

$HOLDFAST_TEST_LAB names another lab; $HOLDFAST_KEEP_LAB=1 keeps one that was started here. A lab that was there stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.asked import Heard, listen, root

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.lab import Lab, state
from holdfast.settings import Workstation, load

from .holdfast_command import as_json, holdfast


class Provisioned(Lab):
    """A lab whose workstation `./holdfast up` has provisioned; ``first``: what it said then, ``was_bare``: of a bare machine."""

    def __init__(self, name: str, logs: Path, first: dict[str, Any], was_bare: bool) -> None:
        super().__init__(name)
        self.logs, self.first, self.was_bare = logs, first, was_bare
        self.settled = False

    @property
    def settings(self) -> Workstation:
        """The workstation's settings, as an apply without other values sees them."""
        return load(self.name)

    def ssh(self, command: str | Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """As the login user; the status is not checked."""
        return super().ssh([command] if isinstance(command, str) else command, **options)

    def open(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """A program that goes on there as the login user, with its stdin and stdout here."""
        argv = ["ssh", "-F", str(self.layout.ssh_config), "-o", "ControlPath=none", self.name, *command]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def root(self, script: str, timeout: float = 120) -> str:
        """What a shell script prints as root. It travels by stdin, so nothing of it stands in an argv; it must succeed."""
        return root(self, script, timeout)

    def python(self, source: str, timeout: float = 120) -> Any:
        """The JSON that a Python program prints as root; it travels by stdin."""
        done = self.ssh(["sudo", "python3", "-I", "-"], input=source, timeout=timeout)
        assert done.returncode == 0, done.stderr[-1500:]
        return json.loads(done.stdout)

    def main_pid(self, unit: str) -> int:
        """The unit's main process on the workstation, 0 for none."""
        return int(self.ssh(["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout)

    def pids(self) -> dict[str, int]:
        """The main process of each of the workstation's servers."""
        units = ("ollama@coder", "ollama@reasoner", "open-webui", "tailscaled")
        shown = self.ssh(["systemctl", "show", "-p", "MainPID", "--value", *units]).stdout.split()
        return dict(zip(units, map(int, shown), strict=True))

    def environment(self, pid: int) -> dict[str, str]:
        """What a process on the workstation was started with."""
        words = self.root(f"cat /proc/{pid}/environ").split("\0")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def says(self, role: str) -> str:
        """What the role's model answers to a greeting, asked on the workstation itself."""
        instance = self.settings.instances[role]
        body = json.dumps({"model": instance.model, "prompt": "Who are you?", "stream": False})
        done = self.ssh(f"curl -sS -m 120 -d @- http://127.0.0.1:{instance.port}/api/generate", input=body, timeout=150)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["response"])

    def apply(self, values: Mapping[str, Any] | None = None, heard: Heard | None = None) -> Result:
        """`./holdfast up NAME --set …`, without the checks; ``heard`` is called with every event of it as it comes."""
        self.settled = False
        result = self._run(runner.apply, values, heard)
        self.settled = not values
        return result

    def settle(self) -> None:
        """Back to its own settings, unless the last apply was one without other values."""
        if not self.settled:
            self.apply()

    @contextlib.contextmanager
    def lent(self) -> Iterator[Provisioned]:
        """With its own settings, also afterwards: by an apply, since what is done to it meanwhile is no apply's doing."""
        self.settle()
        yield self
        self.settled = False
        self.settle()

    def plan(self, values: Mapping[str, Any] | None = None, heard: Heard | None = None) -> Result:
        """`./holdfast plan NAME --set …`."""
        return self._run(runner.plan, values, heard)

    def _run(self, verb: Callable[..., Result], values: Mapping[str, Any] | None, heard: Heard | None) -> Result:
        return listen(verb, self.name, heard, log=self.logs / "apply.log", values=values).well


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A living lab, as it comes from `Lab.up`. One that cannot start fails the test; it never skips it."""
    made = Lab(os.environ.get("HOLDFAST_TEST_LAB", "test"))
    was_there = state.load(made.name) is not None
    made.up()
    yield made
    if not was_there and os.environ.get("HOLDFAST_KEEP_LAB") != "1":
        done = holdfast("down", "--json", HOLDFAST_LAB=made.name)
        assert done.returncode == 0 and as_json(done)["removed"], done.stderr
        assert not made.layout.folder.exists()


@pytest.fixture(scope="session")
def workstation(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Provisioned:
    """The lab, provisioned once, as a person does it. A test that changes something leaves it converged: an apply at its end."""
    was_bare = lab.ssh(["test", "-e", "/etc/holdfast"]).returncode != 0
    done = holdfast("up", "--json", HOLDFAST_LAB=lab.name, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    made = Provisioned(lab.name, tmp_path_factory.mktemp("applies"), as_json(done), was_bare)
    made.joined()
    made.settled = True
    return made
