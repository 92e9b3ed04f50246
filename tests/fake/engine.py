"""deploy.py against a simulated machine, as pyinfra runs it, without a network and in milliseconds."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import yaml
from pyinfra import logger
from pyinfra.api import Config, Inventory, State, arguments, inventory
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import HostData
from pyinfra.api.operations import run_ops
from pyinfra.api.output import echo
from pyinfra.api.state import BaseStateCallback, StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_host, ctx_state

# All that the machine knows.
from tests.clock import Clock
from tests.fake import cards, debian, disk, models, software, systemd, tailnet, web  # noqa: F401
from tests.fake.machine import CutOff, Machine

from holdfast.components.models import operations
from holdfast.components.nvidia import operations as nvidia
from holdfast.components.nvidia import verdict
from holdfast.operations import answers, packages, reboot, remote
from holdfast.paths import ROOT
from holdfast.settings.loader import profiles

HOST = "@fake/gpu-box"


@dataclass
class Applied:
    """What one run of deploy.py did: operation names in order, those that would change or did change something."""

    names: list[str] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    failed: bool = False

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "error"]

    @property
    def stops(self) -> list[dict[str, Any]]:
        """What a plan said that an apply would stop at."""
        return [event for event in self.events if event["event"] == "stop"]


class _Tell(BaseStateCallback):
    """Tells the machine which operation is at work, for its log."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def operation_start(self, state: Any, op_hash: str) -> None:
        self.machine.operation = next(iter(state.op_meta[op_hash].names))


@contextmanager
def connected(machine: Machine) -> Iterator[None]:
    """@fake leads to ``machine``."""

    def command(
        self: FakeConnector, command: Any, print_output: bool = False, print_input: bool = False, **more: Any
    ) -> Any:
        # Shown as every connector shows it.
        shown = command if isinstance(command, str) else command.get_masked_value()
        logger.debug("Running command on %s: %s", self.host.name, shown)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {shown}", err=True)
        status, output = machine.run(
            command if isinstance(command, str) else command.get_raw_value(), more.get("_stdin")
        )
        for line in output.output_lines if print_output else []:
            echo(f"{self.host.print_prefix}{line}", err=True)
        return status, output

    clock = Clock()

    def copied(self: FakeConnector, *args: Any, **more: Any) -> Any:
        machine.unknown.append(f"a file is copied, where content is to go by stdin: {args}")
        return False

    with (
        mock.patch.object(FakeConnector, "run_shell_command", command),
        mock.patch.object(FakeConnector, "put_file", copied),
        mock.patch.object(FakeConnector, "get_file", copied),
        # A hundred and more applies in seconds: what is the same each time is found out once.
        mock.patch.object(remote.inspect, "getsource", _source),
        mock.patch.object(yaml, "safe_load", _load),
        mock.patch.object(arguments, "all_global_arguments", _arguments),
        mock.patch.object(inventory, "get_all_connectors", _connectors),
        mock.patch.object(HostData, "__getattr__", _datum),
        mock.patch.object(answers, "time", clock),
        mock.patch.object(operations, "time", clock),
        mock.patch.object(packages, "time", clock),
        mock.patch.object(reboot, "time", clock),
        mock.patch.object(verdict, "time", clock),
        mock.patch.object(nvidia, "time", clock),
    ):
        yield


_source = functools.cache(inspect.getsource)
_arguments = functools.cache(arguments.all_global_arguments)
_connectors = functools.cache(inventory.get_all_connectors)
_parse = functools.cache(yaml.safe_load)


_profiles = functools.cache(profiles)
_every_datum = HostData.__getattr__


def _datum(self: HostData, key: str) -> Any:
    """pyinfra asks for thirty of its own settings an operation; nothing here sets one but attach."""
    if key.startswith("_") and key not in self.override_datas:
        raise AttributeError(key)
    return _every_datum(self, key)


@functools.cache
def _deploy() -> Any:
    return compile((ROOT / "deploy.py").read_text("utf-8"), "deploy.py", "exec")


def _load(text: str) -> Any:
    return copy.deepcopy(_parse(text))


def run(machine: Machine, site: dict[str, Any], *, dry: bool = False) -> Applied:
    """One ``pyinfra inventory.py deploy.py``; ``dry``: its plan alone, else as with ``-y``, which makes no plan."""
    out = Applied()
    with tempfile.TemporaryFile("w+") as events, connected(machine):
        with mock.patch.dict(os.environ, {"HOLDFAST_EVENTS": str(events.fileno())}):
            _run(machine, site, dry, out)
        events.seek(0)
        out.events = [json.loads(line) for line in events]
    assert not machine.unknown, machine.unknown
    return out


def _run(machine: Machine, site: dict[str, Any], dry: bool, out: Applied) -> None:
    data = {"site": site, **_profiles()[site["profile"]]}
    state = State(Inventory(([HOST], data)), Config(), check_for_changes=dry)
    state.cwd = str(ROOT)
    with ctx_state.use(state):
        state.set_stage(StateStage.Connect)
        connect_all(state)
        host = state.inventory.get_host(HOST)
        state.set_stage(StateStage.Prepare)
        with ctx_host.use(host):
            add_deploy(state, lambda: exec(_deploy(), {"__name__": "deploy"}))
        order = state.get_op_order()
        names = {key: next(iter(state.op_meta[key].names)) for key in order}
        out.names = list(names.values())
        assert len(set(out.names)) == len(out.names), "two operations have one name"
        if dry:
            out.planned = [names[key] for key in order if state.ops[host][key].operation_meta._maybe_is_change]
            return
        state.add_callback_handler(_Tell(machine))
        state.get_op_order = lambda: order
        state.set_stage(StateStage.Execute)
        try:
            run_ops(state)
        except (PyinfraError, CutOff):
            out.failed = True
        metas = {key: state.ops[host][key].operation_meta for key in order}
        out.changed = [names[key] for key, meta in metas.items() if meta.is_complete() and meta.did_change()]
