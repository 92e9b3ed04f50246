"""An apply that is killed between a file and the restart it asks for: the next one makes up for exactly that.

`kill -9` of pyinfra itself, at a named operation. (At every operation, on a simulated machine: tests/fake.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.waiting import until

from holdfast.apply.run import environment
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT

CODER, REASONER = "ollama@coder", "ollama@reasoner"
# pyinfra_cli comes first: it lets gevent patch before anything else is read.
CUT = """
import os, signal, sys
from pyinfra_cli.main import main
from holdfast.apply import events
tell = events.emit
def emit(kind, **fields):
    tell(kind, **fields)
    if kind == "operation" and fields["name"] == os.environ["CUT_AT"]:
        os.kill(os.getpid(), signal.SIGKILL)
events.emit = emit
main()
"""


def cut_at(machine: Any, operation: str, values: Mapping[str, Any]) -> None:
    """An apply whose process is killed when ``operation`` is about to begin; returns when the machine is free again."""
    reading, writing = os.pipe()
    unused, password = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", CUT, "inventory.py", "deploy.py", "--limit", machine.name, "-y"],
            env={**environment(machine.name, values, writing, unused), "CUT_AT": operation},
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, pass_fds=[writing, unused],
        )  # fmt: skip
    finally:
        for descriptor in (reading, writing, unused, password):
            os.close(descriptor)
    machine.settled = False
    assert done.returncode == -signal.SIGKILL, f"{operation} was not reached:\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    free = "flock -n /run/holdfast-apply.lock echo free || true"
    until(lambda: machine.root(free).strip() == "free", "the lock of a killed apply stays")


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    workstation.settle()
    yield workstation
    workstation.settle()


def context_of(machine: Any, pid: int) -> str:
    return str(machine.environment(pid)["OLLAMA_CONTEXT_LENGTH"])


def test_cut_between_the_file_and_the_restart(machine: Any) -> None:
    values = {"instances.coder.context": 8192}
    before = machine.pids()
    cut_at(machine, "Ollama | Run the coder", values)
    assert "OLLAMA_CONTEXT_LENGTH=8192" in machine.root("cat /etc/holdfast/ollama/coder.env"), "the file was written"
    assert machine.pids() == before, "nothing was restarted"
    assert context_of(machine, before[CODER]) != "8192"

    changed = machine.apply(values).changed
    after = machine.pids()
    assert {unit for unit in before if before[unit] != after[unit]} == {CODER}, changed
    assert "Ollama | Run the coder" in changed and "Ollama | Run the reasoner" not in changed
    assert "Ollama | Write Ollama's environments" not in changed, "the cut apply had done that"
    assert context_of(machine, after[CODER]) == "8192"
    assert machine.apply(values).changed == []
    assert machine.pids() == after


def test_cut_between_two_restarts(machine: Any) -> None:
    values = {"instances.coder.context": 4096, "instances.reasoner.context": 4096}
    before = machine.pids()
    cut_at(machine, "Ollama | Run the reasoner", values)
    cut = machine.pids()
    assert {unit for unit in before if before[unit] != cut[unit]} == {CODER}

    changed = machine.apply(values).changed
    after = machine.pids()
    assert {unit for unit in before if cut[unit] != after[unit]} == {REASONER}, changed
    assert (context_of(machine, after[CODER]), context_of(machine, after[REASONER])) == ("4096", "4096")


def children(pid: int, word: str = "") -> list[int]:
    """The processes that ``pid`` has started and that live; those with ``word`` in their command line."""
    out = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line.split()[0]) for line in out.splitlines() if word in line]


def test_a_connection_that_ends_ends_the_apply(machine: Any) -> None:
    """The ProxyCommand dies, as it does with the machine or the way to it: an error, not a wait for ever."""
    machine.settle()
    cut: list[int] = []

    def cut_the_line(event: dict[str, Any]) -> None:
        if event["event"] == "operation" and not cut:
            for pyinfra in children(os.getpid(), "pyinfra_cli"):
                cut.extend(children(pyinfra))
            for pid in cut:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(HoldfastError) as told:
        machine.apply(heard=cut_the_line)
    assert cut, "pyinfra's connection is a process of its own"
    assert told.value.fix
    # The host's lock falls with the connection.
    assert machine.apply().changed == []
