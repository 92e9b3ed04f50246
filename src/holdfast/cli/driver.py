"""What `status` says of cards and driver: from the machine, or from facts that were recorded anywhere. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.cli.table import Columns
from holdfast.components.nvidia.absence import somewhere
from holdfast.components.nvidia.classify import addressed, classify, findings
from holdfast.components.nvidia.facts import from_json
from holdfast.components.nvidia.installing import by_hand, refusal
from holdfast.components.nvidia.options import Options
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.recording import wanted
from holdfast.components.nvidia.steps import SAME
from holdfast.components.nvidia.together import driver_set
from holdfast.errors import HoldfastError


def told(recorded: Mapping[str, Any], want: Want, name: str = "HOST") -> dict[str, Any]:
    """The finding as JSON. ``recorded``: what the driver's fact read; ``want``: the settings; ``name``: the machine's, for
    commands. Raises ValueError for what is no recording."""
    machine = from_json(recorded)
    found = classify(machine, want.gpus, want.minimum)
    wrong = findings(machine, want.gpus, want.minimum)
    stop = refusal(machine, want) if wrong and found.state not in ("ready", "no_gpu") else None
    if stop is not None:
        # Where `up` would stop, it is no way out: what it would say is.
        fuller = [told for told, other in ((found.reason, stop.why), (stop.why, found.reason)) if other in told]
        why = fuller[0] if fuller else f"{found.reason}; {stop.why}"
        wrong[-1] = (f"{found.state}: {why}", stop.fix.replace(SAME, "then ./holdfast up HOST"))
    elif machine.distribution and (fix := by_hand(machine, want)):
        wrong[-1] = (wrong[-1][0], fix)
    kernels = {"running": machine.kernel, "next": machine.next_kernel}
    return {
        "state": found.state, "words": found.words, "reason": found.reason, "fix": addressed(found.fix, name),
        "usable": found.usable,
        "notes": list(found.notes), "kernels": kernels, "set": dict(driver_set(machine).packages),
        "findings": [{"message": message, "fix": addressed(fix, name)} for message, fix in wrong],
        "asked": asdict(want), "somewhere": somewhere(machine),
    }  # fmt: skip


def rows(table: Columns, nvidia: Mapping[str, Any] | None) -> None:
    """The lines of the one screen."""
    if nvidia is None:
        table.line("GPUs", "unknown (no python3 there yet)")
        return
    table.line("GPUs", nvidia["words"])
    if nvidia["state"] == "no_gpu":
        table.line("", nvidia["reason"])
    else:
        table.line("driver", f"{nvidia['state']}: {nvidia['reason']}")
        running, following = nvidia["kernels"]["running"], nvidia["kernels"]["next"]
        table.line("kernel", f"{running}" + (f"; next boot: {following}" if following not in ("", running) else ""))
    for note in nvidia["notes"]:
        table.line("", note)
    for n, update in enumerate(nvidia.get("updates", ())):  # a recording has none
        table.line("" if n else "updates", update)


def required(nvidia: Mapping[str, Any], gpu: bool) -> list[dict[str, str]]:
    """What is wrong, by whether a card is needed (``gpu``); where none is, the screen tells the state in any case."""
    if gpu and nvidia["state"] == "no_gpu" and not nvidia["findings"]:
        return [{"message": nvidia["reason"], "fix": nvidia["fix"]}]
    return list(nvidia["findings"]) if gpu else []


def name_of(document: Mapping[str, Any]) -> str:
    """The machine's, where the recording has it."""
    said = document.get("host")
    return said if isinstance(said, str) and re.fullmatch(r"[\w@][\w.-]*", said) else "HOST"


def replay(file: Path) -> dict[str, Any]:
    """The finding for recorded facts: what `status HOST --json` printed, judged by its settings; or its ``nvidia.recorded``
    alone, with the settings' defaults and no card declared, where a machine without any card lacks none. Raises
    HoldfastError."""
    fix = "./holdfast status HOST --json > FILE records one"
    try:
        document = json.loads(file.read_text("utf-8"))
        inner = document.get("nvidia", document) if isinstance(document, dict) else None
        if not isinstance(inner, dict):
            # null: the machine had no python3 when it was asked.
            raise ValueError("it holds no facts of a machine's cards and driver")
        asked = inner.get("asked")
        want = Want(minimum=Options().minimum_driver) if asked is None else wanted(asked)
        nvidia = told(inner.get("recorded", inner), want, name_of(document))
        return nvidia | {"findings": required(nvidia, want.required if asked is not None else nvidia["somewhere"])}
    except OSError as error:
        raise HoldfastError(f"--facts {file}: {error.strerror}", fix=fix, code=2) from None
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deep"
        raise HoldfastError(f"--facts {file}: {why}", allowed="a machine's recorded facts as JSON", fix=fix, code=2) from None
