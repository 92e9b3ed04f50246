"""What lies in the model store, what of it was declared, and how far the puller is."""

from __future__ import annotations

import json
from typing import Any

from holdfast.operations.remote import PythonFact


def read_store(store: str, models: dict[str, str], status: str, unit: str) -> Any:
    """Runs on the host. `models`: name -> pinned manifest digest ("sha256:…").

    Returns {"models": {name: {"state", "bytes"}}, "undeclared": [names], "orphans": bytes of blobs of no model and of
    downloads that nobody finishes, "free": bytes or None, "pull": the puller's status file or None, "active", "sub", "result",
    "restarts", "journal"}. A model's state is present, absent (no manifest), moved (another manifest), incomplete (a blob is
    missing or has the wrong size) or unchecked (a blob was never hashed, or was changed since).
    """
    import contextlib
    import hashlib
    import json
    import os
    import subprocess

    root = os.path.join(store, "manifests")

    def path_of(name: str) -> str:
        model, _, tag = name.rpartition(":")
        parts = model.split("/")
        if len(parts) < 2:
            parts.insert(0, "library")
        if len(parts) < 3:
            parts.insert(0, "registry.ollama.ai")
        return os.path.join(*parts, tag)

    def name_of(path: str) -> str:
        host, space, model, tag = path.split(os.sep)
        short = model if (host, space) == ("registry.ollama.ai", "library") else f"{space}/{model}"
        return f"{short if host == 'registry.ollama.ai' else f'{host}/{space}/{model}'}:{tag}"

    def look(name: str, digest: str) -> dict[str, Any]:
        try:
            with open(os.path.join(root, path_of(name)), "rb") as file:
                raw = file.read()
        except OSError:
            return {"state": "absent", "bytes": 0}
        if "sha256:" + hashlib.sha256(raw).hexdigest() != digest:
            return {"state": "moved", "bytes": 0}
        blobs, state = blobs_of(raw), "present"
        for blob, size in blobs.items():
            try:
                about = os.stat(os.path.join(store, "blobs", blob.replace(":", "-")))
            except OSError:
                about = None
            if about is None or about.st_size != size:
                state = "incomplete"
            elif state == "present":
                key = [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
                state = "present" if checked.get(blob[7:]) == key else "unchecked"
        return {"state": state, "bytes": sum(blobs.values())}

    def blobs_of(raw: bytes) -> dict[str, int]:
        manifest = json.loads(raw)
        return {b["digest"]: b["size"] for b in [*manifest["layers"], manifest["config"]]}

    checked = {}
    try:
        with open(os.path.join(store, ".fetch", "checked.json")) as file:
            checked = dict(json.load(file))
    except (OSError, ValueError, TypeError):
        pass
    found, used, orphans = [], set(), 0
    for folder, _, files in os.walk(root):
        for name in files:
            found.append(os.path.relpath(os.path.join(folder, name), root))
            try:
                with open(os.path.join(folder, name), "rb") as manifest:
                    used |= {digest.replace(":", "-") for digest in blobs_of(manifest.read())}
            except (OSError, ValueError, KeyError, TypeError):
                pass
    with contextlib.suppress(OSError):
        orphans = sum(entry.stat().st_size for entry in os.scandir(os.path.join(store, "blobs")) if entry.name not in used)
    wanted = {path_of(name) for name in models}
    out: dict[str, Any] = {
        "models": {name: look(name, digest) for name, digest in models.items()},
        "undeclared": sorted(name_of(path) for path in found if path not in wanted and path.count(os.sep) == 3),
        "orphans": orphans,
        "free": None,
        "pull": None,
    }
    if all(model["state"] == "present" for model in out["models"].values()):
        with contextlib.suppress(OSError):  # downloads that were begun, of models that are declared no longer
            parts = [entry for entry in os.scandir(os.path.join(store, ".fetch")) if len(entry.name) == 64]
            out["orphans"] += sum(entry.stat().st_size for entry in parts)
    try:
        space = os.statvfs(store)
        out["free"] = space.f_bavail * space.f_frsize
    except OSError:
        pass
    try:
        with open(status) as file:
            out["pull"] = json.load(file)
    except (OSError, ValueError):
        pass
    try:
        show = ["systemctl", "show", "-p", "ActiveState,SubState,Result,NRestarts", unit]
        text = subprocess.run(show, capture_output=True, text=True).stdout
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        log = ["journalctl", "-u", unit, "-n", "20", "--no-pager", "-o", "cat"]
        out["journal"] = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    except OSError:
        values = {}
    out["active"] = values.get("ActiveState", "inactive")
    out["sub"] = values.get("SubState", "")
    out["result"] = values.get("Result", "success")
    out["restarts"] = int(values.get("NRestarts") or 0)
    return out


class ModelStore(PythonFact):
    """The store and its puller in one round trip; see read_store."""

    reader = staticmethod(read_store)


def missing(found: dict[str, Any] | None, models: dict[str, str]) -> list[str]:
    """The declared models that a server could not use now. `found` None (bare machine): all of them."""
    there = (found or {}).get("models", {})
    return [name for name in models if there.get(name, {}).get("state") != "present"]


def telling(pull: dict[str, Any], journal: str) -> list[str]:
    """Why the puller failed, as an `error:` and a `Fix:` line: from its status file, `pull`. Where that does not say (it
    was killed, or is still trying) the same lines of its journal, else the last word there."""
    if pull.get("error"):
        return [f"error: {pull['error']}", *([f"Fix: {pull['fix']}"] if pull.get("fix") else [])]
    lines = [line for line in journal.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("error:", "Fix:"))]
    return said[-2:] if said else [_plain(line) for line in lines[-1:]]


def _plain(line: str) -> str:
    """A progress line as a sentence; any other line as it is."""
    try:
        event = json.loads(line)
        return f"{event['url']}: {event['reason']}" if event["event"] == "retry" else line
    except (ValueError, KeyError, TypeError):
        return line
