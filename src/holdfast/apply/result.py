"""What pyinfra's JSON says; and what its failures mean, since it prints none when the last host fails."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.settings import load

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """One run that ended well. ``pending`` and ``changed``: names of operations; ``seconds`` by component; ``stops``: what a
    plan found that an apply would stop at."""

    pending: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    operations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    diffs: list[dict[str, Any]] = field(default_factory=list)
    stops: list[HoldfastError] = field(default_factory=list)


def read_result(text: str, host: str, log: Path, said: str = "") -> Result:
    """Parse pyinfra's ``--json``. Silence, no host and failed operations are errors, whatever its exit status was."""
    try:
        document = json.loads(text)
        plan, results = document["plan"], document["results"]
        pending = [_name(op) for op in plan if op["hosts_with_change"]]
        if results is None:
            if not plan:
                raise _nothing(host, log)
            return Result(pending=pending, operations=len(plan))
        operations, totals = results["operations"], results["totals"]
        changed = [_name(op) for op in operations if op["success"]]
        failed = [_name(op) for op in operations if op["error"]]
    except (ValueError, KeyError, TypeError):
        raise failure(host, 0, said, log, [], "") from None
    if totals["hosts"] == 0:
        raise _nothing(host, log)
    if failed or totals["error"] or results.get("failed_hosts"):
        raise failure(host, 0, said, log, [], failed[0] if failed else "")
    return Result(changed=changed, operations=len(operations))


def _name(operation: dict[str, Any]) -> str:
    return str(operation["name"] or ", ".join(operation.get("names") or []))


def _nothing(host: str, log: Path) -> HoldfastError:
    return HoldfastError(
        f"pyinfra found nothing to do for {host}: no operation ran", where=f"log: {log}",
        fix="./holdfast status; is the machine still in hosts.yml, or the lab still running?",
    )  # fmt: skip


def failure(host: str, status: int, said: str, log: Path, errors: list[HoldfastError], failed: str) -> HoldfastError:
    """The one error to show: what an operation reported itself, else pyinfra's telling last lines."""
    where = f"{failed} (log: {log})" if failed else f"log: {log}"
    if errors:
        first = errors[0]
        place = f"{first.where} (log: {log})" if first.where else where
        return HoldfastError(first.message, where=place, allowed=first.allowed, fix=first.fix, code=first.code)
    lines = [_ANSI.sub("", line).rstrip() for line in said.splitlines()]
    tail = telling(lines)
    if words := silence(lines):
        return HoldfastError(
            f"{host} cannot be reached: {words}", where=f"log: {log}",
            fix=f"is the machine on, and are address and port of {host} in hosts.yml (ssh: …) right? Can you log in yourself?",
        )  # fmt: skip
    what = f"{failed} failed on {host}" if failed else f"pyinfra on {host} ended with status {status}"
    return HoldfastError(f"{what}:\n  " + "\n  ".join(tail), where=where, fix=advice(tail, host))


# What pyinfra 3.10 and paramiko 4.0 say when nothing came in pyinfra's ten seconds (CONNECT_TIMEOUT) -> what it means.
_SILENCES = (
    (re.compile(r"\] +Could not connect \(timed out\)"), "nothing answers at its address (a wrong one, a machine "
     "that is off, or a firewall that drops packets)"),
    (re.compile(r"\] +SSH error \(No existing session\)|Error reading SSH protocol banner"), "what listens at its address and "
     "port does not speak SSH in time"),
)  # fmt: skip


def silence(lines: list[str]) -> str:
    """Why no connection came about, where the other side said nothing at all; empty when it did, or one came about."""
    return next((words for pattern, words in _SILENCES if any(pattern.search(line) for line in lines)), "")


def telling(lines: list[str]) -> list[str]:
    """The lines of the last operation, without pyinfra's own farewell; at most twelve."""
    farewell = ("--> Disconnecting", "--> pyinfra error: No hosts remaining")
    lines = [line for line in without_tracebacks(lines) if line.strip() and not line.startswith(farewell)]
    # A note of pyinfra's on a first connection, which is no cause of anything.
    lines = [line for line in lines if "Failed to load host keys" not in line]
    start = max((i for i, line in enumerate(lines) if line.startswith("--> ")), default=0)
    kept = lines[start:]
    return kept[-12:] or ["(it said nothing)"]


def without_tracebacks(lines: list[str]) -> list[str]:
    """``lines`` without Python's stacks; the line that names each exception stays. All of it is in the log."""
    out: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            out.append(line)
        elif not inside and not line.startswith("During handling of the above exception"):
            out.append(line)
    return out


def advice(tail: list[str], host: str) -> str:
    """The next step for the failures that are not about the machine's content."""
    text = "\n".join(tail)
    if "ChannelException" in text:
        # An apply has up to five sessions on its connection; OpenSSH gives the place of one that has ended away a moment later.
        return f"sshd on {host} refuses a session beside others: let it have 10 (MaxSessions in sshd_config, its default)"
    if "Authentication error" in text or "Could not connect" in text or "resolve hostname" in text or "SSH" in text:
        return f"can you log in yourself? {login(host)}; see `ssh:` of {host} in hosts.yml"
    return "correct the cause above and run the same command again: it goes on where it stopped"


def login(host: str) -> str:
    """What a person types to get into ``host``."""
    try:
        return load(host).login
    except HoldfastError:
        return f"ssh {host}"
