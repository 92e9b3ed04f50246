"""The run on the machine: one instance after the other, then the hand-overs, then the comparison. Tells by JSON lines."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.bench.onhost import machine
from holdfast.bench.onhost.client import QUICK_S, Failed, ask, generate, unload, words_for
from holdfast.bench.onhost.listener import end_with_listener

Tell = Callable[..., None]
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_IDLE_S = 0.5  # an answer that has just ended is no idle server yet
BUSY = 0.05  # of a core: an idle llama-server uses none, one that generates about a whole one or more


def run(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Everything that ``job`` asks for (holdfast.bench.job); what was seen."""
    out: dict[str, Any] = {
        "processor": machine.processor(),
        "instances": {},
        "hand_overs": [],
        "compare": [],
        "problems": [],
    }
    if any(one["gpus"] for one in job["instances"].values()):
        out["cards"] = machine.smi("gpu", machine.CARD)
    busy = {role: used for role, one in job["instances"].items() if (used := machine.working(one["unit"])) > BUSY}
    out["busy"] = busy
    if busy and not job["force"]:
        return out
    for role, one in job["instances"].items():
        tell("phase", name=role)
        try:
            out["instances"][role] = measure(role, one, job, tell)
        except Failed as error:
            out["instances"][role] = {"problem": str(error)}
        tell("done", name=role)
    well = [role for role, found in out["instances"].items() if not found["problem"]]
    pairs = [(a, b) for a, b in job["pairs"] if a in well and b in well]
    if pairs and job["hand_overs"]:
        tell("phase", name="hand-overs")
        for a, b in pairs:
            try:
                two = {a: job["instances"][a], b: job["instances"][b]}
                out["hand_overs"] += hand_overs(two, job["hand_overs"], tell)
            except Failed as error:
                # What was measured before it stays told.
                out["problems"].append(f"hand-over between {a} and {b}: {error}")
        tell("done", name="hand-overs")
    if job["compare"]:
        from holdfast.bench.onhost.compare import compare

        tell("phase", name="comparison")
        out["compare"] = [
            compare(role, one, job, tell) for role, one in job["instances"].items() if role in well and not one["gpus"]
        ]
        tell("done", name="comparison")
    return out


def measure(role: str, one: dict[str, Any], job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """One instance: a load, then runs, in each one generation for each length, so that a slow moment hits all of them."""
    port, model, unit = one["port"], one["model"], one["unit"]
    found: dict[str, Any] = {
        "problem": "",
        "version": ask(port, "GET", "/api/version", timeout=QUICK_S).get("version", ""),
        "looks": [],
    }
    tell("note", text=f"{role}: loading {model}")
    unload(port, model)
    since = time.time()
    found["load"] = generate(port, model, 1, 1)
    words = words_for(port, model, one["lengths"])
    generate(port, model, words[one["lengths"][0]], job["tokens"])  # the first one warms up and does not count
    found["runs"], n, of = [], 0, job["runs"] * len(one["lengths"])
    for _ in range(job["runs"]):
        for length in one["lengths"]:
            n += 1
            tell("step", n=n, of=of, label=f"{role}: prompt of {length} tokens")
            # Not where the model runs on the processor: a look takes a moment of it.
            watch = machine.Watch(unit, partial(ask, port, "GET", "/api/ps", None, QUICK_S)) if one["gpus"] else None
            try:
                seen = generate(port, model, words[length], job["tokens"], watch.begin if watch else lambda: None)
            finally:
                if watch:
                    watch.end()
            found["runs"].append({"length": length, **seen})
            if watch:
                found["looks"] += [{"length": length, **look} for look in watch.seen]
                found["looks_problem"] = found.get("looks_problem") or watch.problem
    if one["gpus"]:
        found["journal"] = machine.journal(unit, since, job["sudo"])
    return found


def hand_overs(two: dict[str, dict[str, Any]], rounds: int, tell: Tell) -> list[dict[str, Any]]:
    """From one to the other and back: seconds to the first token while the other one has its model loaded and is idle."""
    out: list[dict[str, Any]] = []
    roles = list(two)
    for number in range(rounds + 1):
        for before, after in ((roles[0], roles[1]), (roles[1], roles[0])):
            tell("step", n=len(out) + 1, of=2 * rounds, label=f"{before} -> {after}")
            time.sleep(_IDLE_S)
            seen = generate(two[after]["port"], two[after]["model"], 1, 1)
            # Only from the second round on has each of them followed the other.
            if number:
                out.append({"from": before, "to": after, "first_s": seen["first_s"], "load_s": seen["load_s"]})
    return out


def main(job: dict[str, Any]) -> int:
    """One JSON line for each thing that happens; the last one has all that was seen. Ends when nobody listens any more."""

    def tell(event: str, **data: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **data}) + "\n")
        sys.stdout.flush()

    def leave(*_: object) -> None:
        # Once: what is being ended on the way out is ended in peace.
        for number in _ENDS:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(143)

    for number in _ENDS:
        signal.signal(number, leave)
    end_with_listener(sys.stdout.fileno())
    try:
        tell("result", data=run(job, tell))
    except BrokenPipeError:
        # Nobody listens any more; what was started has been ended on the way here.
        os._exit(1)
    return 0
