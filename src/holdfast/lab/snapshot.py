"""What this computer looks like, as far as a lab might change it: taken before and after, then compared.

Only tests call it. It stands here because it must know all that a lab touches: who adds to the lab adds to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.lab import cgroups, state
from holdfast.lab.footprint import SHARED
from holdfast.lab.layout import NONCE_VARIABLE, Layout, labs_dir
from holdfast.lab.processes import identity
from holdfast.lab.tree import trees_dir

Snapshot = dict[str, list[str]]
# Of a route or a link: what tells it from another, and nothing that counts up or expires.
_LINK = ("ifname", "link_type", "address", "mtu", "operstate", "flags", "master")
# A lab's nonce (secrets.token_hex(8)); tests that need no lab mark their processes otherwise, and may run just then.
_MARK = re.compile(f"{NONCE_VARIABLE}=[0-9a-f]{{16}}".encode())
_ROUTE = ("type", "dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric")


@dataclass(frozen=True)
class Other:
    """Another lab, which lives, begins or ends meanwhile."""

    name: str
    nonce: str


def others(own: str) -> list[Other]:
    """All labs of this user but ``own``, whole or not."""
    return [Other(name, state.nonce(name)) for name in state.names() if name != own]


def take(beside: Sequence[Other] = ()) -> Snapshot:
    """Processes of labs, namespaces, mounts, links, addresses, routes, sysctls, firewall, control groups, files.

    What carries the name or the nonce of a lab ``beside`` is left out; so is, where there is one, what labs share.
    """
    found = _everything(beside)
    names = "|".join(re.escape(other.name) for other in beside)
    theirs = re.compile(rf"(\bhf-|/labs/|/run/holdfast/)({names})(?![a-z0-9])") if names else None
    named = ("namespaces", "mounts", "control groups", "files")
    return found | {part: [item for item in found[part] if not (theirs and theirs.search(item))] for part in named}


def _everything(beside: Sequence[Other]) -> Snapshot:
    return {
        "processes": _processes(beside),
        "namespaces": sorted(p.name for p in _entries("/run/netns")) + sorted(str(p) for p in _entries("/etc/netns")),
        "mounts": _mounts(),
        "links": _json(["ip", "-json", "link"], _LINK),
        "addresses": [f"{a['ifname']} {i.get('local')}/{i.get('prefixlen')}"
                      for a in _load(["ip", "-json", "address"]) for i in a.get("addr_info", [])],
        "routes": _json(["ip", "-json", "route", "show", "table", "all"], _ROUTE)
        + _json(["ip", "-json", "-6", "route", "show", "table", "all"], _ROUTE),
        "rules": _text(["ip", "rule"]) + _text(["ip", "-6", "rule"]),
        "sysctls": _sysctls(),
        "nft": _text(["nft", "list", "ruleset"]),
        "control groups": _control_groups(),
        "files": _files(shared=not beside),
    }  # fmt: skip


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for each thing that came (+) or went (-); empty when nothing did."""
    lines = []
    for part in sorted(before.keys() | after.keys()):
        old, new = before.get(part, []), after.get(part, [])
        lines += [f"- {part}: {item}" for item in old if item not in new]
        lines += [f"+ {part}: {item}" for item in new if item not in old]
    return lines


def _text(argv: Sequence[str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _load(argv: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads("\n".join(_text(argv)) or "[]")
    return found


def _json(argv: Sequence[str], keys: Sequence[str]) -> list[str]:
    return sorted(json.dumps({key: item[key] for key in keys if key in item}) for item in _load(argv))


def _entries(folder: str) -> list[Path]:
    return list(Path(folder).iterdir()) if Path(folder).is_dir() else []


def _mounts() -> list[str]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        found.append(f"{before.split()[4]} {after.split()[0]} {after.split()[1]}")
    return sorted(found)


def _sysctls() -> list[str]:
    return sorted(_text(["sysctl", "-a", "-e", "-r", r"^net\.ipv[46]\.(ip_forward|conf\.)"]))


def _processes(beside: Sequence[Other]) -> list[str]:
    """Every process that carries any lab's nonce, lives in a lab's network or group, or names a lab's folder."""
    here = [p.name for p in _entries("/run/netns") if p.name.startswith("hf-")]
    inside = _netns(here)
    left_out = [
        (f"{NONCE_VARIABLE}={lab.nonce}".encode(), _netns(list(Layout(lab.name).namespaces.values())), Layout(lab.name))
        for lab in beside
    ]
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdecimal():
                continue
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            variables = (entry / "environ").read_bytes().split(b"\0")
            netns, group = identity(f"{entry}/ns/net"), (entry / "cgroup").read_text()
        except OSError:
            continue
        marked = any(_MARK.fullmatch(variable) for variable in variables)
        if not (marked or netns in inside or "/hf-" in group or str(labs_dir()).encode() in words):
            continue
        if not any(
            mark in variables or netns in nets or f"/{it.cgroup}/" in group or f"{it.folder}/".encode() in words
            for mark, nets, it in left_out
        ):
            found.append(f"{entry.name} {' '.join(words.decode(errors='replace').split())}")
    return sorted(found)


def _netns(names: Sequence[str]) -> set[tuple[int, int]]:
    return {found for name in names if (found := identity(f"/run/netns/{name}")) is not None}


def _control_groups() -> list[str]:
    mountinfo = Path("/proc/self/mountinfo").read_text()
    return sorted(str(p) for root in cgroups.hierarchies(mountinfo) for p in root.glob("hf-*"))


def _files(shared: bool) -> list[str]:
    found = [folder for folder in SHARED if shared and Path(folder).exists()]
    found += [str(p) for folder in ("/run/holdfast", "/run/systemd/nspawn") for p in _entries(folder)]
    found += [str(p) for p in _entries(str(labs_dir()))]
    found += [str(p) for p in trees_dir().glob(".making-*")]
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        if Path(file).exists():
            found.append(f"{file} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}")
    return sorted(found)
