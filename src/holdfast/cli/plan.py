"""The verb `plan`."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.cli import fit_given, fit_table, hosts
from holdfast.cli.outcome import Outcome
from holdfast.cli.parser import add_host
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown
from holdfast.cli.telling import printing
from holdfast.cli.up import log_of
from holdfast.errors import STOPS, HoldfastError
from holdfast.fit import CARDS
from holdfast.paths import from_there
from holdfast.settings import fitting
from holdfast.settings.fitting import Asked, FitError

ABOUT = """\
Says what `up` would change on a machine, and changes nothing. Files are shown as a diff; of a file that holds a secret
only its name is. What an apply would stop at is told at the end, before anything is changed. Exit 3 when changes are
pending or an apply would stop, 0 when the machine is as described.

First of all it says what lies on which card, and whether the models fit: exit 2 where one does not. For that alone neither
a machine nor a network is needed:

  ./holdfast plan gpu-box
  ./holdfast plan gpu-box --set instances.coder.context=8192
  ./holdfast plan gpu-box --no-reboot           what `up --no-reboot` would do, and where it would stop
  ./holdfast plan --profile dual_3090 --card rtx-4090 --set instances.coder.context=32768
  ./holdfast plan --gguf model.gguf --card rtx-3090 --card rtx-3060 --set context=8192
"""
PENDING = 3
NOT_REQUIRED = "the cards are those declared; where none of them is found, the models run on the CPU (require_gpu: false)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    add_host(parser, "a host of hosts.yml, or @local (default: the throw-away machine)")
    hosts.add_set(parser)
    hosts.add_reboot(parser)
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--profile", metavar="PROFILE", help="no machine: do the models of this hardware profile fit?")
    alone.add_argument("--gguf", metavar="FILE", type=from_there, help="no machine: does the model in this file fit?")
    parser.add_argument(
        "--card", action="append", default=[], metavar="[NAME=]KIND", dest="cards",
        help=f"with --profile or --gguf: the kind of card, {', '.join(list(CARDS)[8:12])} … (may be repeated)",
    )  # fmt: skip


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    try:
        if args.profile or args.gguf:
            return alone(args)
        if args.cards:
            fix = "leave --card out: what the cards of a machine are stands in hosts.yml"
            raise HoldfastError("--card goes with --profile or --gguf", fix=fix, code=2)
        name = hosts.chosen(args.host)
        hosts.set_for(name, hosts.asked_for(args))
        ws = hosts.settings(name)
    except FitError as error:
        if args.json:
            return refused(error)
        show(error.asked, progress)
        raise
    asked = fitting.asked(ws)
    if not args.json:
        # Before the machine is asked anything, which may take long or fail.
        show(asked, progress, () if ws.require_gpu else (NOT_REQUIRED,))
    with progress.phase("plan"):
        result = runner.plan(name, log=log_of("plan", name), progress=progress, ask=Asker(progress))
    found = outcome(name, result, {"always": " --reboot", "never": " --no-reboot"}.get(args.reboot, ""))
    return replace(found, data={**found.data, "fit": fit_table.data(asked)})


def alone(args: argparse.Namespace) -> Outcome:
    """The verdict without a machine. Raises FitError where a model does not fit."""
    if args.host:
        raise HoldfastError("a host and --profile or --gguf at once", fix=f"./holdfast plan {args.host}", code=2)
    if args.reboot:
        word = "--reboot" if args.reboot == "always" else "--no-reboot"
        raise HoldfastError(f"{word} and --profile or --gguf at once", fix=f"leave {word} out: no machine is asked", code=2)
    values = hosts.overrides(args.values)
    given = fit_given.of_profile if args.profile else fit_given.of_gguf
    asked = given(args.profile or args.gguf, args.cards, values)
    fitting.require(asked)
    return Outcome({"fit": fit_table.data(asked)}, list(fit_table.lines(asked)))


def show(asked: Asked, progress: Shown, notes: Sequence[str] = ()) -> None:
    """Print the table now, and lines below it."""
    with progress.aside(), printing():
        sys.stdout.write("\n".join([*fit_table.lines(asked), *notes, "", ""]))
        sys.stdout.flush()


def refused(error: FitError) -> Outcome:
    """For a program: the numbers, and why a model does not fit; exit code 2."""
    return Outcome({"fit": fit_table.data(error.asked), "error": error.data()}, [], error.code)


def outcome(name: str, result: Result, options: str = "") -> Outcome:
    """Diffs and pending operations, then what an apply (`up` with these ``options``) would stop at; exit code 3 for either."""
    stops = [error.data() for error in result.stops]
    data = {
        "host": name, "pending": result.pending, "operations": result.operations, "diffs": result.diffs, "stops": stops,
    }  # fmt: skip
    lines = [text for diff in result.diffs for text in shown(diff)]
    lines += [f"would change: {operation}" for operation in result.pending]
    if result.pending:
        count = f"{len(result.pending)} of {result.operations} operations"
        make = f"make it so: ./holdfast up {name}{options}"
        how = f"once the apply is no longer stopped ({len(stops)} below)" if stops else make
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
