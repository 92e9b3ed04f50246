"""What is pinned, read anew from the lock files: the second opinion shares no reader with the deploy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from holdfast.paths import LOCKS, ROOT, cache_dir

__all__ = ["LOCKS", "ROOT", "artifact_version", "locked", "manifest_digest", "members"]


def locked(lock: str, package: str) -> str:
    """The version of ``package`` in locks/python/LOCK.txt."""
    text = (LOCKS / "python" / f"{lock}.txt").read_text("utf-8")
    found = re.search(rf"^{re.escape(package)}==([^\s\\;]+)", text, re.MULTILINE)
    assert found, f"locks/python/{lock}.txt does not name {package}"
    return found[1]


def artifact_version(name: str) -> str:
    """The version of a program in locks/artifacts.yml."""
    return str(_artifact(name)["version"])


def manifest_digest(model: str, pins: dict[str, str]) -> str:
    """The pinned digest ("sha256:…") of a model's manifest: the site's own pin first, then the lock."""
    known = yaml.safe_load((LOCKS / "models.yml").read_text("utf-8")) if (LOCKS / "models.yml").exists() else {}
    return pins.get(model) or str(known.get(model, {}).get("manifest", "not in the lock"))


def members(artifact: str, depot: str) -> dict[str, str]:
    """Path in the artifact -> SHA-256 of that file, from this computer's record of its depot; skips where that says nothing.

    ``depot`` is the machine's setting. Without one it took the vendor's file, of which the record tells only if the depot
    here holds the very same: what was built here has other hashes.
    """
    record = cache_dir() / "built.json"
    entries: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {}
    entry, pin = entries.get(artifact), _artifact(artifact)
    fix = f"./holdfast depot fetch {artifact}"
    if not entry or not entry["members"] or entry["version"] != str(pin["version"]):
        pytest.skip(f"this computer has no record of {artifact} {pin['version']}: {fix}")
    if not depot and entry["sha256"] != pin["sha256"]:
        pytest.skip(f"{artifact} {pin['version']} came from its vendor, and the one in the depot here is another: {fix}")
    return dict(entry["members"])


def _artifact(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((LOCKS / "artifacts.yml").read_text("utf-8"))["artifacts"][name])
