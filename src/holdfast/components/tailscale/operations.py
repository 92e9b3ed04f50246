"""The tailnet's operations: the key is at hand, apt knows the repository, the node is a member and publishes one thing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.tailscale.facts import CLI, TailnetNode
from holdfast.components.tailscale.key import AuthKey, required
from holdfast.components.tailscale.steps import Refuse, Run, Step, Want, decide
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report, stop
from holdfast.operations.running import run

# Joining, a drift of preferences and a wrong `serve` are three rounds; one more for what only shows after a rename.
ROUNDS = 5
SETTLE_S = 20.0


@operation()
def require_key(reference: AuthKey | None) -> Iterator[FunctionCommand]:
    """Before anything is changed: a machine that has yet to join needs a key. With the key at hand nothing is asked."""
    try:
        required(reference)
    except HoldfastError as error:
        node = TailnetNode.node(host)
        # Installed and silent: it may well be a member. `membership` finds out once the daemon runs.
        if node.member or (node.version and not node.backend):
            host.noop("the machine is in the tailnet: no key is needed")
            return
        yield from stop(error)
        return
    host.noop("a join key is at hand")


@operation()
def membership(want: Want, reference: AuthKey | None, cli: tuple[str, ...] = CLI) -> Iterator[FunctionCommand]:
    """Member of the tailnet, with the preferences of a workstation, publishing Open WebUI and nothing else."""
    steps = decide(TailnetNode.node(host, cli=cli, settle_s=SETTLE_S if host.state.is_executing else 2), want)
    if not steps:
        host.noop("the node is as it should be")
        return
    for step in steps:
        emit("note", host=host.name, message=f"tailnet: {step.why}")
    yield FunctionCommand(_converge, (want, reference, cli), {})


def _converge(state: Any, host: Any, want: Want, reference: AuthKey | None, cli: tuple[str, ...]) -> bool:
    label, steps = "", []
    for _ in range(ROUNDS):
        node = TailnetNode.node(host, cli=cli, settle_s=SETTLE_S, label=label)
        steps = decide(node, want)
        if not steps:
            return True
        for step in steps:
            if not _take(state, host, step, reference, cli):
                return False
        renamed = any(
            s.argv[0] == "set" and f"--hostname={want.hostname}" in s.argv for s in steps if isinstance(s, Run)
        )
        label = want.hostname if renamed else ""
    names = "; ".join(step.why for step in steps)
    report(host, HoldfastError(f"the node does not become as it should be; still to do: {names}", where=host.name,
                               fix="on the host: tailscale status; tailscale get; tailscale serve status"))  # fmt: skip
    return False


def _take(state: Any, host: Any, step: Step, reference: AuthKey | None, cli: tuple[str, ...]) -> bool:
    """Take one step; False, with the reason reported, when it failed."""
    if isinstance(step, Refuse):
        report(host, HoldfastError(step.why, where=host.name, fix=step.fix))
        return False
    key, stdin = "", {}
    if step.key:
        try:
            key = required(reference)
        except HoldfastError as error:
            report(host, error)
            return False
        # By stdin alone: an argv can be read by every user of the machine while the command runs, a file afterwards.
        stdin = {"_stdin": key}
    ok, lines = run(state, host, StringCommand(command_line(step, cli), **stdin))
    if ok:
        return True
    said = " / ".join(lines)
    # An OAuth client's secret is given with parameters after a "?"; what is said of it may leave them out.
    for form in (key, key.partition("?")[0]) if key else ():
        said = said.replace(form, "(key)")
    report(host, HoldfastError(f"could not {step.why}: {said or 'no answer in time'}", where=host.name, fix=step.fix))
    return False


def command_line(step: Run, cli: tuple[str, ...] = CLI) -> str:
    """The shell line of a step; it ends by itself, and never waits for an answer from a person."""
    line = shlex.join(["timeout", "-k", "5", str(step.limit_s), *cli, *step.argv])
    # Through cat, because /dev/stdin can be opened when it is a pipe and not when it is a socket, as sshd may make it.
    return f"cat | {line}" if step.key else f"{line} </dev/null"
