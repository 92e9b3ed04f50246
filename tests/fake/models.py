"""The model store and its puller, and what an Ollama server needs at its start."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from tests.fake.machine import Machine, Unit, hears, runs
from tests.fake.systemd import BEFORE, SERVERS, STARTED, instance, pairs, stop

from holdfast.components.models.change import read_in_service, write_in_service
from holdfast.components.models.facts import read_store
from holdfast.components.models.files import SETTINGS, UNIT
from holdfast.components.models.folder import read_folder
from holdfast.components.ollama.files import SYSTEMD
from holdfast.components.ollama.instances import read_instances
from holdfast.components.ollama.trial import try_model


def manifest(store: str, name: str) -> str:
    return f"{store}/manifests/registry.ollama.ai/library/{name.replace(':', '/')}"


def blob(store: str, digest: str) -> str:
    """Of the one blob that a model consists of here."""
    return f"{store}/blobs/{digest.replace(':', '-')}"


def pull(m: Machine) -> None:
    """The puller gets to its end by itself: what it was started for is there, and its process is gone. ``m.withheld``: model ->
    the error and the Fix with which the registry refuses it."""
    settings = json.loads(m.text(SETTINGS) or "{}")
    m.told = None  # type: ignore[attr-defined]
    for model in settings["models"]:
        if refusal := getattr(m, "withheld", {}).get(model["name"]):
            m.told = dict(zip(("error", "fix"), refusal, strict=True))  # type: ignore[attr-defined]
            stop(m, UNIT)
            m.units[UNIT] = replace(m.units[UNIT], state="failed")
            return
        m.write(manifest(settings["store"], model["name"]), model["manifest"])
        m.write(blob(settings["store"], model["manifest"]), "weights of " + model["name"])
    stop(m, UNIT)


STARTED[UNIT] = lambda m, unit: m.slow.update({unit: 3})


@runs(read_store)
def look(m: Machine, store: str, models: dict[str, str], status: str, unit: str) -> Any:
    active = m.units.get(unit, Unit()).state
    if active == "active":
        m.slow[unit] -= 1
        if m.slow[unit] <= 0:
            pull(m)

    def state(name: str, digest: str) -> str:
        found = m.text(manifest(store, name))
        if found is None:
            return "absent"
        return "moved" if found != digest else "present" if m.text(blob(store, digest)) else "incomplete"

    root = manifest(store, "")
    files = [path for path, node in m.disk.items() if path.startswith(root) and node.kind == "file"]
    there = {path[len(root) :].replace("/", ":") for path in files}
    return {
        "models": {name: {"state": state(name, digest), "bytes": 1} for name, digest in models.items()},
        "undeclared": sorted(there - set(models)), "orphans": 0,
        "free": 1 << 40, "pull": getattr(m, "told", None), "active": m.units.get(unit, Unit()).state, "result": "success",
        "restarts": 0, "journal": "", "sub": getattr(m, "sub", ""),
    }  # fmt: skip


@runs(read_folder)
def folder(m: Machine, path: str, fstab: str) -> Any:
    kind = "folder" if path in m.disk else "absent"
    return {"unmounted": "", "kind": kind, "store": f"{path}/blobs" in m.disk, "foreign": [], "root_disk": True}


@runs(read_in_service)
def in_service(m: Machine, path: str, store: str = "") -> Any:
    there = {node.data.decode() for at, node in m.disk.items() if at.startswith(f"{store}/manifests/") and node.kind == "file"}
    return {role: digest for role, digest in json.loads(m.text(path) or "{}").items() if not store or digest in there}


@runs(write_in_service)
def note(m: Machine, path: str, roles: dict[str, str]) -> str:
    if getattr(m, "full", False):
        return f"{path}: No space left on device"
    m.write(path, json.dumps(roles))
    return ""


@runs(try_model)
def try_it(m: Machine, unit: str, file: str, environment: str, model: str, timeout_s: float) -> str:
    """A server answers for what is in the store."""
    env = pairs(environment)
    if f"{SYSTEMD}/ollama@.service" not in m.disk:
        return f"its server did not start: Unit {unit} not found."
    if m.text(manifest(env["OLLAMA_MODELS"], model)) is None:
        return f"HTTP 404 model '{model}' not found"
    return "HTTP 500 error loading model" if model in getattr(m, "refuses", ()) else ""


@hears(r"models_sweep\.py (?P<settings>\S+)")
def sweep(m: Machine, found: re.Match[str], stdin: str) -> None:
    settings = json.loads(m.text(found["settings"]) or "{}")
    declared = {manifest(settings["store"], model["name"]) for model in settings["models"]}
    keep = declared | {blob(settings["store"], model["manifest"]) for model in settings["models"]}
    m.change("remove models")
    for path, node in list(m.disk.items()):
        if node.kind == "file" and path.startswith(settings["store"] + "/") and path not in keep:
            m.remove(path)


@runs(read_instances)
def instances(m: Machine, systemd: str, etc: str) -> list[str]:
    roles = {found[1] for p in m.disk if (found := re.match(rf"{systemd}/ollama@([^/]+)\.service\.d(/|$)", p))}
    roles |= {found[1] for p in m.disk if (found := re.fullmatch(rf"{etc}/([^/]+)\.env", p))}
    known = [name for name, u in m.units.items() if u.enabled or u.process]
    return sorted(roles | {instance(name) for name in known if name.startswith("ollama@")})


def devices(m: Machine, unit: str, body: str) -> dict[str, str]:
    """holdfast_onhost/devices.py: PCI addresses become the cards' UUIDs."""
    role = instance(unit)
    env = pairs(m.text(f"/etc/holdfast/ollama/{role}.env") or "")
    cards = [pair.partition("=")[2] for pair in env.get("HOLDFAST_CARDS", "").split()]
    usable = ",".join(f"GPU-{card}" for card in cards if m.module and card in m.cards)
    return {f"/run/holdfast/ollama/{role}.devices": f"CUDA_VISIBLE_DEVICES={usable or -1}\nHOLDFAST_GPUS={usable or -1}\n"}


BEFORE["devices.py"] = devices
# No other Ollama has been here, and what is looked up beforehand is nobody's business but the puller's.
BEFORE["models_pull.py"] = BEFORE["models_adopt.py"] = lambda m, unit, body: {}


def serve(m: Machine, url: str) -> int:
    """An instance answers as soon as its unit runs: its ExecStartPost has waited for it."""
    for name, unit in m.units.items():
        env = dict(unit.process.env) if unit.process and name.startswith("ollama@") else {}
        if env and url.startswith(f"http://{env['OLLAMA_HOST']}/"):
            return 200
    return 0


SERVERS.append(serve)
