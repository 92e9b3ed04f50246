"""systemd units by state: a unit is reloaded, enabled, started or restarted because of what it is, never because of what
an earlier operation did. An apply that is cut off between a file and its restart would otherwise lose the restart for good.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.remote import PythonFact


def config_hash(*parts: str | bytes) -> str:
    """16 hex digits over ``parts``; goes into the unit's environment as HOLDFAST_CONFIG."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def read_unit(unit: str, program: str = "") -> Any:
    """Runs on the host: the unit's state, the HOLDFAST_CONFIG that its main process really runs with, and what is stale:
    the unit's files that were written since that process began, and ``program`` if the process is not what lies there."""
    import os
    import subprocess
    import time

    keys = "LoadState,ActiveState,Result,UnitFileState,NeedDaemonReload,MainPID,FragmentPath,DropInPaths,EnvironmentFiles"
    try:
        text = subprocess.run(["systemctl", "show", "-p", keys, unit], capture_output=True, text=True).stdout
    except OSError:
        return None
    lines = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    out: dict[str, Any] = dict(lines)
    files = [word for key, value in lines if key.endswith(("Path", "Paths")) for word in value.split()]
    # Not those in /run: the start itself writes them (ExecStartPre), a moment before the main process.
    files += [value.partition(" (")[0] for key, value in lines if key == "EnvironmentFiles" and "=/run/" not in f"={value}"]
    out["config"], out["stale"] = "", []
    if out.get("MainPID", "0") != "0":
        try:
            with open(f"/proc/{out['MainPID']}/environ", "rb") as f:
                environ = dict(p.split(b"=", 1) for p in f.read().split(b"\0") if b"=" in p)
            out["config"] = environ.get(b"HOLDFAST_CONFIG", b"").decode()
            with open(f"/proc/{out['MainPID']}/stat") as f:
                ticks = int(f.read().rpartition(")")[2].split()[19])
            began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
            out["stale"] = sorted(p for p in set(files) if os.path.exists(p) and os.stat(p).st_mtime > began)
            if program and os.readlink(f"/proc/{out['MainPID']}/exe") != os.path.realpath(program):
                out["stale"].append(program)
        except OSError:
            pass
    for place in ("/etc/systemd/system", "/run/systemd/system"):
        if os.path.islink(os.path.join(place, unit)) and os.readlink(os.path.join(place, unit)) == "/dev/null":
            out["masked"] = "yes"
    return out


class UnitState(PythonFact):
    """The state of one unit; see read_unit."""

    reader = staticmethod(read_unit)


def steps(state: dict[str, Any] | None, *, config: str | None, enabled: bool, running: bool) -> list[str]:
    """The systemctl verbs that lead from ``state`` to what is wanted, in order; pure."""
    state = state or {}
    out = []
    if state.get("masked") or state.get("UnitFileState", "").startswith("masked"):
        out.append("unmask")
    if state.get("NeedDaemonReload") == "yes" or state.get("LoadState") != "loaded":
        out.append("daemon-reload")
    file_state = state.get("UnitFileState", "")
    if enabled and file_state not in ("enabled", "static", "alias", "generated"):
        out.append("enable")
    if not enabled and file_state == "enabled":
        out.append("disable")
    active = state.get("ActiveState", "inactive")
    if running:
        if active in ("active", "reloading"):
            # A file put right after somebody restarted the unit with a wrong one: the hash alone would not tell.
            if state.get("stale") or (config is not None and state.get("config") != config):
                out.append("restart")
        else:
            # Failed, dead, or between two crashes: a clean start with the counter of failures forgotten.
            out += ["reset-failed"] if active in ("failed", "activating") else []
            out.append("restart" if active == "activating" else "start")
    elif active not in ("inactive", "failed"):
        out.append("stop")
    return out


def systemctl(unit: str, verbs: Sequence[str], *, wait: bool = True) -> StringCommand:
    """The command that does ``verbs`` in order. A start that fails tells the unit's last journal lines, or, without
    ``wait``, is only asked for."""
    name = shlex.quote(unit)
    lines = ["set -e"]
    for verb in verbs:
        if verb == "daemon-reload":
            lines.append("systemctl daemon-reload")
        elif verb not in ("start", "restart"):
            lines.append(f"systemctl --quiet {verb} {name}")
        elif wait:
            lines.append(
                f"systemctl {verb} {name} || {{ echo {name} did not start. Its last words:; "
                f"journalctl -u {name} -n 15 --no-pager -o cat; exit 1; }} >&2"
            )
        else:
            lines.append(f"systemctl --quiet --no-block {verb} {name}")
    return StringCommand("; ".join(lines))


@operation()
def unit(
    unit: str, config: str | None = None, enabled: bool = True, running: bool = True, program: str = ""
) -> Iterator[StringCommand]:
    """Bring one unit into the wanted state; on failure the unit's last journal lines are the message.

    ``config`` is compared with HOLDFAST_CONFIG in the environment of the running main process; None: not compared.
    ``program``: a path, links and all; a main process that runs another file, or one since removed, is restarted.
    """
    todo = steps(UnitState.read(host, unit=unit, program=program), config=config, enabled=enabled, running=running)
    if not todo:
        host.noop(f"{unit} is as it should be")
        return
    yield systemctl(unit, todo)
