"""What is wrong with a machine, from what was read of it: each finding with its Fix. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.cli import driver
from holdfast.components.ollama.files import TRIAL, unit_name

# Below this an upgrade or a log can fill the disk (bytes).
LITTLE_ROOM = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and the way out."""

    message: str
    fix: str


def findings(name: str, found: Mapping[str, Any], *, require_gpu: bool, tailnet: bool) -> list[Finding]:
    """All that is wrong, most basic first."""
    out = [*_nvidia(found["nvidia"], require_gpu), *_room(found["room"]), *_models(name, found["models"])]
    out += [*_units(name, found["units"]), *_undeclared(name, found["undeclared"])]
    out += [*(_tailnet(name, found["tailnet"]) if tailnet else [])]
    return out


def _undeclared(name: str, roles: Sequence[str]) -> Iterator[Finding]:
    for role in roles:
        what, fix = "no instance of that name is declared", f"./holdfast up {name} removes it"
        if role.startswith(TRIAL):
            what = f"the trial of {role.removeprefix(TRIAL)}'s next model, by an apply that runs or was cut off"
            fix = f"wait for that apply; without one ./holdfast up {name} tries again"
        yield Finding(f"{unit_name(role)}: {what}", fix)


def _nvidia(nvidia: Mapping[str, Any] | None, required: bool) -> Iterator[Finding]:
    for found in driver.required(nvidia, required) if nvidia is not None else ():
        yield Finding(f"GPU: {found['message']}", found["fix"])


def _room(room: Mapping[str, Any] | None) -> Iterator[Finding]:
    for path, space in ((room or {}).get("disks") or {}).items():
        if space["free"] < LITTLE_ROOM:
            yield Finding(f"{path}: {space['free'] / 2**30:.1f} GiB free", f"make room: du -xh {path} | sort -h | tail")


def _models(name: str, store: Mapping[str, Any] | None) -> Iterator[Finding]:
    if store is None:
        yield Finding("nothing of Holdfast is on this machine", f"./holdfast up {name}")
        return
    pulling = store["active"] in ("active", "activating")
    for model, entry in store["models"].items():
        if entry["state"] != "present":
            fix = f"it is being fetched: ./holdfast status {name} --watch" if pulling else f"./holdfast up {name}"
            # Why, in the puller's own words.
            last = {} if pulling else store.get("pull") or {}
            why = f" ({last['error']})" if last.get("error") else ""
            yield Finding(f"model {model}: {entry['state']}{why}", last.get("fix") or fix)


def _units(name: str, units: Mapping[str, Any]) -> Iterator[Finding]:
    for unit, state in units.items():
        state = state or {}
        if state.get("LoadState") != "loaded":
            yield Finding(f"{unit}: not installed", f"./holdfast up {name}")
        elif state.get("ActiveState") != "active":
            now = f"{state.get('ActiveState')} ({state.get('Result', '')})"
            yield Finding(f"{unit}: {now}", f"on the machine: journalctl -u {unit} -e; then ./holdfast up {name}")
        elif state.get("UnitFileState") not in ("enabled", "static", "alias", "generated"):
            yield Finding(f"{unit}: will not start at boot ({state.get('UnitFileState')})", f"./holdfast up {name}")


def _tailnet(name: str, node: Mapping[str, Any]) -> Iterator[Finding]:
    if not node["version"]:
        yield Finding("tailscale: not installed", f"./holdfast up {name}")
    elif node["backend"] != "Running":
        said = node["backend"] or node["problem"] or "no answer"
        yield Finding(f"tailnet: {said}", f"./holdfast up {name} (with a fresh key when it says NeedsLogin)")
    elif not node["online"]:
        yield Finding("tailnet: the control server does not see this machine", "on the machine: tailscale netcheck")
