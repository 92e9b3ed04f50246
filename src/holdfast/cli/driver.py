"""What `status` says of cards and driver: from the machine, or from facts that were recorded anywhere. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.cli.table import Columns
from holdfast.components.nvidia.classify import addressed, classify, findings
from holdfast.components.nvidia.facts import from_json
from holdfast.components.nvidia.installing import by_hand, refusal
from holdfast.components.nvidia.options import Options
from holdfast.components.nvidia.packages import Want
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
        why = stop.why if found.reason in stop.why else f"{found.reason}; {stop.why}"
        wrong[-1] = (f"{found.state}: {why}", stop.fix.replace(SAME, "then ./holdfast up HOST"))
    elif machine.distribution and (fix := by_hand(machine, want)):
        wrong[-1] = (wrong[-1][0], fix)
    kernels = {"running": machine.kernel, "next": machine.next_kernel}
    return {
        "state": found.state, "words": found.words, "reason": found.reason, "fix": addressed(found.fix, name),
        "usable": found.usable,
        "notes": list(found.notes), "kernels": kernels, "set": dict(driver_set(machine).packages),
        "findings": [{"message": message, "fix": addressed(fix, name)} for message, fix in wrong],
    }  # fmt: skip


def rows(table: Columns, nvidia: Mapping[str, Any] | None) -> None:
    """The lines of the one screen."""
    if nvidia is None:
        table.line("GPUs", "unknown (no python3 there yet)")
        return
    table.line("GPUs", nvidia["words"])
    if nvidia["state"] != "no_gpu":
        table.line("driver", f"{nvidia['state']}: {nvidia['reason']}")
        running, following = nvidia["kernels"]["running"], nvidia["kernels"]["next"]
        table.line("kernel", f"{running}" + (f"; next boot: {following}" if following not in ("", running) else ""))
    for note in nvidia["notes"]:
        table.line("", note)
    for n, update in enumerate(nvidia.get("updates", ())):  # a recording has none
        table.line("" if n else "updates", update)


def replay(file: Path) -> dict[str, Any]:
    """The finding for recorded facts: what `status HOST --json` printed, or its ``nvidia.recorded`` alone. The minimum is
    the settings' default, and no card is declared. Raises HoldfastError."""
    fix = "./holdfast status HOST --json > FILE records one"
    try:
        document = json.loads(file.read_text("utf-8"))
        inner = document.get("nvidia", document) if isinstance(document, dict) else None
        if not isinstance(inner, dict):
            # null: the machine had no python3 when it was asked.
            raise ValueError("it holds no facts of a machine's cards and driver")
        return told(inner.get("recorded", inner), Want(minimum=Options().minimum_driver))
    except OSError as error:
        raise HoldfastError(f"--facts {file}: {error.strerror}", fix=fix, code=2) from None
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deep"
        raise HoldfastError(f"--facts {file}: {why}", allowed="a machine's recorded facts as JSON", fix=fix, code=2) from None
