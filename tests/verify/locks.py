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
    return str(yaml.safe_load((LOCKS / "artifacts.yml").read_text("utf-8"))["artifacts"][name]["version"])


def manifest_digest(model: str, pins: dict[str, str]) -> str:
    """The pinned digest ("sha256:…") of a model's manifest: the site's own pin first, then the lock."""
    known = yaml.safe_load((LOCKS / "models.yml").read_text("utf-8")) if (LOCKS / "models.yml").exists() else {}
    return pins.get(model) or str(known.get(model, {}).get("manifest", "not in the lock"))


def members(artifact: str) -> dict[str, str]:
    """Path in the artifact -> SHA-256 of that file, from this computer's record of its depot; skips without one."""
    record = cache_dir() / "built.json"
    entries: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {}
    entry = entries.get(artifact)
    if not entry or not entry["members"] or entry["version"] != artifact_version(artifact):
        pytest.skip(f"this computer has no record of {artifact} {artifact_version(artifact)}: ./holdfast depot fetch {artifact}")
    return dict(entry["members"])
