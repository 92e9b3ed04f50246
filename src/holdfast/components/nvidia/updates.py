"""Driver and kernel updates that wait: on hold, or kept from unattended-upgrades; for `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.components.nvidia.names import beginnings, kinds
from holdfast.operations.remote import PythonFact, taking

STALE_DAYS = 14


def read_updates(root: str) -> Any:
    """Runs on the host: {"waiting": [{"name", "installed", "candidate", "held", "days"}], "lists_days"}, days since the
    installed version was installed and since apt's lists were fetched (None where that cannot be known).

    apt is asked for its candidates alone, and writes nothing: not even its caches.
    """
    import os
    import re
    import subprocess
    import time

    # Metapackages bring kernels: linux-image-amd64, linux-generic-hwe-24.04; the images themselves never change.
    driver = rf"(?!(?:lib)?nvidia-container)(?:{'|'.join(beginnings())})"
    ours = re.compile(rf"{driver}|linux-(image|headers)-(?!\d)|linux-({'|'.join(kinds())})(-|$)")

    def days(*parts: str) -> float | None:
        try:
            return round((time.time() - os.stat(os.path.join(root, *parts)).st_mtime) / 86400, 1)
        except OSError:
            return None

    held, installed = set(), {}
    try:
        with open(os.path.join(root, "var/lib/dpkg/status"), encoding="utf-8", errors="replace") as f:
            stanzas = f.read().split("\n\n")
    except OSError:
        stanzas = []
    for stanza in stanzas:
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[:1] != " ")
        name, status = fields.get("Package", ""), fields.get("Status", "")
        if ours.match(name) and status.endswith(" installed"):
            installed[name] = fields.get("Architecture", "")
            if status.startswith("hold"):
                held.add(name)
    folder = os.path.join(root, "var/lib/apt/lists")
    lists = [days(folder, name) for name in (os.listdir(folder) if os.path.isdir(folder) else ()) if "Release" in name]
    waiting: list[dict[str, Any]] = []
    if installed:
        quiet = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
        words = ["apt-cache", *quiet, "policy", *sorted(installed)]
        try:
            said = subprocess.run(
                words, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, timeout=60
            ).stdout
        except (OSError, subprocess.SubprocessError):
            said = ""
        found = re.findall(r"^(\S+?)(?::\w+)?:\n  Installed: (\S+)\n  Candidate: (\S+)", said, re.M)
        for name, now, candidate in found:
            if candidate not in (now, "(none)"):
                age = days("var/lib/dpkg/info", f"{name}.list")
                age = age if age is not None else days("var/lib/dpkg/info", f"{name}:{installed.get(name, '')}.list")
                waiting.append(
                    {"name": name, "installed": now, "candidate": candidate, "held": name in held, "days": age}
                )
    return {"waiting": waiting, "lists_days": min((d for d in lists if d is not None), default=None)}


taking(read_updates, beginnings, kinds)


class Updates(PythonFact):
    """Waiting updates; see read_updates."""

    reader = staticmethod(read_updates)


def told(found: Mapping[str, Any] | None) -> list[str]:
    """A line for every update that waits, how a person takes them (an apply leaves what works as it is), and one for lists
    so old that more may wait. Pure."""
    if found is None:
        return []
    out = [*map(_line, found["waiting"])]
    if out:
        held = " ".join(update["name"] for update in found["waiting"] if update["held"])
        free = f"sudo apt-mark unhold {held}; " if held else ""
        out.append(f"to take them: {free}sudo apt update && sudo apt full-upgrade, then ./holdfast up HOST")
    age = found["lists_days"]
    if age is not None and age >= STALE_DAYS:
        out.append(f"apt's lists are {_days(age)} old: newer drivers and kernels are not known of")
    return out


def _line(update: Mapping[str, Any]) -> str:
    why = "on hold" if update["held"] else "waits"
    since = "" if update["days"] is None else f", installed {_days(update['days'])} ago"
    return f"{update['name']} {update['installed']}{since}: {update['candidate']} {why}"


def _days(number: float) -> str:
    whole = round(number)
    return "1 day" if whole == 1 else f"{whole} days"

