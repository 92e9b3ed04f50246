"""Starting the puller without waiting for it, and waiting for it at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.models.facts import ModelStore, missing, telling
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.unit import UnitState, steps, systemctl
from holdfast.paths import SHIPPED

_POLL_S = 1.0
_IDLE_S = 5.0  # without a byte, until it is told why
_SWEEP = f"{SHIPPED}/models_sweep.py"


@dataclass(frozen=True)
class Pull:
    """What both operations need to know: where things lie, and which models (name -> digest) must be there. ``least``: bytes per
    second that count as progress."""

    store: str
    settings: str
    status: str
    unit: str
    models: dict[str, str]
    least: float = 0.0

    def read(self, host: Any) -> dict[str, Any] | None:
        """As facts.read_store tells; None on a machine without python3."""
        found = ModelStore.read(host, store=self.store, models=self.models, status=self.status, unit=self.unit)
        return None if found is None else dict(found)


@operation()
def begin(pull: Pull, config: str) -> Iterator[StringCommand]:
    """Enable the puller; start it, without waiting, only when a declared model is missing."""
    state = UnitState.read(host, unit=pull.unit)
    found = pull.read(host)
    wanting = bool(missing(found, pull.models))
    todo = steps(state, config=config, enabled=True, running=wanting)
    if wanting and (found or {}).get("sub") == "start-pre":
        # It is copying what another Ollama has, and reads its settings again after that.
        todo = [verb for verb in todo if verb not in ("reset-failed", "restart", "start")]
    if not wanting:
        todo = [verb for verb in todo if verb != "stop"]
    if not todo:
        host.noop("every model is there" if not wanting else "the puller is at work")
        return
    yield systemctl(pull.unit, todo, wait=False)


@operation()
def wait(pull: Pull, patience_s: float) -> Iterator[FunctionCommand]:
    """Wait until every declared model is there; ends with the puller's own words when it gives up.

    `patience_s` is in seconds without a new byte, or with too few. The puller goes on in any case.
    """
    if not missing(pull.read(host), pull.models):
        host.noop(f"{len(pull.models)} models are there")
        return
    yield FunctionCommand(waiting, (pull, patience_s), {})


@operation()
def sweep(pull: Pull, sync: bool) -> Iterator[StringCommand]:
    """Remove what no declared model needs, if ``sync``; without it nothing: status lists such models."""
    found = pull.read(host) or {}
    surplus = list(found.get("undeclared") or [])
    if not sync or (not surplus and not found.get("orphans")):
        host.noop(f"not declared, and left: {', '.join(surplus)}" if surplus else "nothing is left over")
        return
    yield StringCommand("/usr/bin/python3", "-I", _SWEEP, shlex.quote(pull.settings))


def progress(pull: Mapping[str, Any]) -> dict[str, Any]:
    """The puller's status as one of a transfer: done and total in bytes, and a label with model, rate and time left.

    While it reads what is there, done is what it has read, and total is 0: nobody knows yet what will be fetched.
    """
    if pull.get("checked") and not pull.get("total") and pull.get("state") == "running":
        return {"done": int(pull["checked"]), "total": 0, "label": "models: reading what is there"}
    label = f"models: {pull.get('model', '')}"
    if pull.get("rate"):
        label += f", {float(pull['rate']) / 2**20:.1f} MiB/s"
    if pull.get("eta") is not None:
        seconds = int(float(pull["eta"]))
        label += f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
    return {"done": int(pull.get("bytes") or 0), "total": int(pull.get("total") or 0), "label": label}


def reason(found: Mapping[str, Any]) -> str:
    """Why nothing comes for now, in the puller's words; empty where it has none; pure."""
    pull = found.get("pull") or {}
    if found.get("sub") == "auto-restart":
        return next(iter(telling(pull, found.get("journal") or "")), "").removeprefix("error: ")
    return str(pull.get("waiting") or "") if pull.get("state") == "running" else ""


def waiting(state: Any, host: Any, pull: Pull, patience_s: float) -> bool:
    """Until every declared model is there (True) or the puller has given up (False, told)."""
    last, since = -1, time.monotonic()
    at, moved = -1, since
    while True:
        found = pull.read(host) or {}
        left = missing(found, pull.models)
        if not left:
            return True
        pulling = found.get("pull") or {}
        done = int(pulling.get("bytes") or 0) + int(pulling.get("checked") or 0)
        if done >= last + max(1.0, pull.least * patience_s):
            last, since = done, time.monotonic()
        last = min(last, done)  # what a server sends from the start again
        if done != at:
            at, moved = done, time.monotonic()
        idle, quiet = time.monotonic() - moved, time.monotonic() - since
        now, why = progress(pulling), reason(found)
        if why and idle > _IDLE_S:
            emit("waiting", host=host.name, what=f"models: {why}", seconds=round(idle, 1))
        elif now["done"] or now["total"]:
            emit("bytes", host=host.name, **now)
        problem = verdict(found, left, quiet, patience_s, pull.unit)
        if problem:
            report(host, problem)
            return False
        time.sleep(_POLL_S)


def verdict(found: dict[str, Any], left: list[str], quiet_s: float, patience_s: float, unit: str) -> HoldfastError | None:
    """The reason to stop waiting, if there is one; pure."""
    words = telling(found.get("pull") or {}, found.get("journal") or "")
    said = [line.removeprefix("error: ") for line in words if not line.startswith("Fix:")]
    fixes = [line.removeprefix("Fix: ") for line in words if line.startswith("Fix:")]
    what = f"models are missing: {', '.join(left)}"
    fix = fixes[-1] if fixes else f"on the host: journalctl -u {unit} -e"
    # A puller that has ended without them: it failed, or it was stopped by somebody.
    if found.get("active") in ("failed", "inactive") and quiet_s > 2 * _POLL_S:
        return HoldfastError("\n  ".join([what, *said]), where=unit, fix=fix)
    if quiet_s > patience_s:
        more = f"no new byte, or too few, in {quiet_s:.0f} s; {unit} goes on trying"
        return HoldfastError("\n  ".join([what, more, *said]), where=unit, fix=fix)
    return None
