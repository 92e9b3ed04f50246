"""The verb `plan`."""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.cli import hosts
from holdfast.cli.outcome import Outcome
from holdfast.cli.parser import add_host
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown
from holdfast.cli.up import log_of
from holdfast.errors import STOPS

ABOUT = """\
Says what `up` would change on a machine, and changes nothing. Files are shown as a diff; of a file that holds a secret
only its name is. What an apply would stop at is told at the end, before anything is changed. Exit 3 when changes are
pending or an apply would stop, 0 when the machine is as described.

  ./holdfast plan gpu-box
  ./holdfast plan gpu-box --set instances.coder.context=8192
"""
PENDING = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    add_host(parser, "a host of hosts.yml, or @local (default: the throw-away machine)")
    hosts.add_set(parser)


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    name = hosts.chosen(args.host)
    hosts.set_for(name, hosts.overrides(args.values))
    hosts.settings(name)
    with progress.phase("plan"):
        result = runner.plan(name, log=log_of("plan", name), progress=progress, ask=Asker(progress))
    return outcome(name, result)


def outcome(name: str, result: Result) -> Outcome:
    """Diffs and pending operations, then what an apply would stop at; exit code 3 for either."""
    stops = [{"message": e.message, "where": e.where, "allowed": e.allowed, "fix": e.fix} for e in result.stops]
    data = {
        "host": name, "pending": result.pending, "operations": result.operations, "diffs": result.diffs, "stops": stops,
    }  # fmt: skip
    lines = [text for diff in result.diffs for text in shown(diff)]
    lines += [f"would change: {operation}" for operation in result.pending]
    if result.pending:
        count = f"{len(result.pending)} of {result.operations} operations"
        how = f"once the apply is no longer stopped ({len(stops)} below)" if stops else f"make it so: ./holdfast up {name}"
        lines.append(f"{count} would change {name}; {how}")
    elif not stops:
        lines.append(f"{name} is as described: {result.operations} operations, nothing to change")
    lines += [error.render(STOPS) for error in result.stops]
    return Outcome(data, lines, PENDING if result.pending or stops else 0)


def shown(diff: dict[str, Any]) -> list[str]:
    """One path of a plan as a unified diff; a change of mode or owner as one line."""
    path, out = str(diff.get("path", "")), []
    for key, change in (diff.get("attributes") or {}).items():
        if key != "kind" or change[0] not in (None, "absent"):
            out.append(f"{path}: {key} {change[0] or '-'} -> {change[1]}")
    if diff.get("secret"):
        return [*out, f"{path}: content is secret and not shown"]
    before, after = diff.get("before"), diff.get("after")
    if before is None and after is None:
        return out
    texts = (str(before or "").splitlines(), str(after or "").splitlines())
    return [*out, *difflib.unified_diff(*texts, f"{path} (there)", f"{path} (wanted)", lineterm="", n=2)]
