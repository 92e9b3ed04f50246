"""One operation on pyinfra's @fake connector, with facts and command results that the test declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector

from holdfast.operations import failing


@dataclass
class Outcome:
    """What a plan said, what then happened. ``ran``: (command line, standard input) in order."""

    planned: bool = False
    changed: bool = False
    failed: bool = False
    ran: list[tuple[str, str]] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)


@pytest.fixture
def apply(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """``apply(operation, facts, responses, **arguments)``; ``facts(fact class) -> value``; an unknown fact must raise."""

    def go(
        operation: Any, facts: Callable[[type], Any], responses: dict[str, Any] | None = None, **arguments: Any
    ) -> Outcome:
        out = Outcome()
        original = FakeConnector.run_shell_command

        def recorded(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
            out.ran.append((command.get_raw_value(), kwargs.get("_stdin") or ""))
            return original(self, command, *args, **kwargs)

        monkeypatch.setattr(FakeConnector, "run_shell_command", recorded)
        monkeypatch.setattr(Host, "get_fact", lambda self, cls, *args, **kwargs: facts(cls))
        said = failing.emit
        monkeypatch.setattr(failing, "emit", lambda kind, **f: (out.errors.append(f), said(kind, **f)))
        data = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": responses or {}}
        state = State(Inventory((["@fake/ws"], data)), Config())
        state.current_stage = StateStage.Prepare
        connect_all(state)
        meta = next(iter(add_op(state, operation, name="it", **arguments).values()))
        out.planned = bool(meta._maybe_is_change)
        assert not out.ran, "a plan must not run anything"
        state.current_stage = StateStage.Execute
        try:
            run_ops(state)
        except PyinfraError:
            out.failed = True
        out.changed = meta.did_change()
        return out

    return go
