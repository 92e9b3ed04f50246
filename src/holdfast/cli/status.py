"""The verb `status`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.apply.variables import Ask
from holdfast.cli import driver, hosts, reading
from holdfast.cli.findings import Finding, findings
from holdfast.cli.outcome import Outcome
from holdfast.cli.parser import add_host
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown, mib
from holdfast.cli.table import Columns
from holdfast.components.models.facts import missing
from holdfast.components.models.files import UNIT
from holdfast.components.models.operations import progress as transfer
from holdfast.components.models.operations import reason, verdict
from holdfast.errors import HoldfastError
from holdfast.paths import from_there
from holdfast.settings.workstation import Workstation

ABOUT = """\
One screen about a machine: cards and driver, units, models, tailnet, room. Reads only. Exit 1 when something is wrong;
each finding comes with its Fix.

  ./holdfast status gpu-box
  ./holdfast status                 the throw-away machine, while it runs
  ./holdfast status --facts gpu-box.json    judge a state that was recorded (by status --json) anywhere
  ./holdfast status gpu-box --watch         first watch the models' download, from wherever it is, to its end
"""
WATCH_S = 3.0  # a look is a connection of its own


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    add_host(parser, "a host of hosts.yml, or @local (default: the throw-away machine)")
    parser.add_argument(
        "--facts", metavar="FILE", help="judge the driver's facts recorded in FILE; no machine is asked"
    )
    parser.add_argument(
        "--watch", action="store_true", help="show the models' download until it ends, one way or the other"
    )


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    if args.facts and (args.host or args.watch):
        beside = args.host or "--watch"
        raise HoldfastError(
            f"--facts {args.facts} and {beside}: a recording is judged and no machine asked", allowed="one of the two",
            fix=f"./holdfast status --facts {args.facts}; or ./holdfast status {beside}", code=2,
        )  # fmt: skip
    if args.facts:
        return replayed(from_there(args.facts))
    ws = hosts.settings(hosts.chosen(args.host))
    ask = Asker(progress)
    with progress.phase("look"):
        found = read(ws, ask)
    if args.watch:
        found = watch(ws, found, progress, ask)
    wrong = findings(ws.name, found, require_gpu=ws.require_gpu, tailnet=ws.tailscale.enabled)
    data = {"host": ws.name, **found, "findings": [asdict(finding) for finding in wrong]}
    return Outcome(data, screen(ws, found, wrong), 1 if wrong else 0)


def replayed(file: Path) -> Outcome:
    """What recorded facts say, wherever they were recorded."""
    nvidia = driver.replay(file)
    table = Columns(show_header=False, title=str(file))
    driver.rows(table, nvidia)
    wrong = [Finding(found["message"], found["fix"]) for found in nvidia["findings"]]
    return Outcome({"facts": str(file), "nvidia": nvidia}, [table, *told(wrong)], 1 if wrong else 0)


def told(wrong: list[Finding]) -> list[str]:
    """The findings, and how many."""
    out = [line for found in wrong for line in (f"wrong: {found.message}", f"  Fix: {found.fix}")]
    return [*out, f"{len(wrong)} findings" if wrong else "nothing is wrong"]


def read(ws: Workstation, ask: Ask) -> dict[str, Any]:
    """What holdfast.cli.facts prints. Raises HoldfastError."""
    done = reading.asked([sys.executable, "-m", "holdfast.cli.facts", ws.name], ws.name, ask)
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = "; ".join([line for line in done.stderr.splitlines() if line.strip()][-3:])
        raise HoldfastError(f"{ws.name} could not be read: {said}", fix=f"can you log in? {ws.login}") from None
    if "error" in found:
        error = HoldfastError.of(found["error"])
        error.fix = error.fix or f"can you log in yourself? {ws.login}"
        raise error
    return found


def watch(
    ws: Workstation, found: dict[str, Any], progress: Shown, ask: Ask, every_s: float = WATCH_S
) -> dict[str, Any]:
    """Show the puller's progress until it has ended; a connection that is lost is made again. The last look."""
    lost, quiet, said, before = "", 0.0, "", -1
    with progress.phase("models"):
        while (store := found["models"]) and (left := missing(store, store["models"])):
            state = transfer(store["pull"] or {})
            why = reason(store) if state["done"] == before else ""
            before = state["done"]
            if why and why != said:
                progress.note(f"waiting: {why}")
            elif not why and (state["done"] or state["total"]):
                progress.bytes(**state)
            said = why or said
            if verdict(store, left, quiet, math.inf, UNIT):
                break  # the findings say why
            time.sleep(every_s)
            quiet += every_s
            try:
                found, lost = read(ws, ask), ""
            except HoldfastError as error:
                if error.message != lost:
                    progress.note(f"{error.message}; trying again")
                lost = error.message
    return found


def screen(ws: Workstation, found: dict[str, Any], wrong: list[Finding]) -> list[Any]:
    """The same for a person."""
    table = Columns(show_header=False, title=ws.name)
    driver.rows(table, found["nvidia"])
    for unit, state in found["units"].items():
        state = state or {}
        words = f"{state.get('ActiveState', '?')}, {state.get('UnitFileState') or 'no unit file'}"
        table.line(unit.removesuffix(".service"), words)
    for row in leases(ws, found.get("leases")):
        table.line(*row)
    store = found["models"] or {"models": {}, "undeclared": []}
    for model, entry in store["models"].items():
        table.line(model, f"{entry['state']}, {mib(entry['bytes'])}")
    for model in store["undeclared"]:
        table.line(model, "in the store, not declared")
    node = found["tailnet"]
    if ws.tailscale.enabled:
        table.line(
            "tailnet", f"{node['name'] or '-'} {' '.join(node['addresses'])} {node['backend'] or 'not installed'}"
        )
    for path, space in ((found["room"] or {}).get("disks") or {}).items():
        table.line(f"room on {path}", f"{mib(space['free'])} of {mib(space['total'])} free")
    return [table, *told(wrong)]


def leases(ws: Workstation, found: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Who holds what instances take turns on, and who waits; /api/ps of an instance would show a parked model as loaded."""
    known = found or {"held": {}, "prefer": None}
    for name in dict.fromkeys(name for instance in ws.instances.values() for name in instance.held):
        now = known["held"].get(name) or {"holder": "", "waiting": []}
        words = f"held by {now['holder']} for {round(now['held_s'])} s" if now["holder"] else "free"
        waits = [f"{role} waits for {round(seconds)} s" for role, seconds in now["waiting"]]
        yield f"lease of {name}", "; ".join([words, *waits])
    if known["prefer"]:
        yield "preferred", f"{known['prefer']['instance']}, for another {round(known['prefer']['left_s'])} s"
