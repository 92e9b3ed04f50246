"""The puller is killed at random moments while its registry misbehaves: whole models or a clear error, nothing else."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SOAK

from holdfast.paths import ROOT

from .models_site import Site

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_pull.py"
ROUNDS = max(50, 5 * SOAK) if SOAK else 5
FAULTS: list[dict[str, Any]] = [
    {}, {"mode": "redirect"}, {"mode": "norange"}, {"drop_after": 1_500_000}, {"blob_statuses": [429, 500, 200, 503]},
    {"manifest_statuses": [503]}, {"corrupt": True},
]  # fmt: skip


def whole(site: Site) -> bool:
    """Every model that is to be seen is there with all its blobs, and no blob is wrong."""
    for path in (site.store / "blobs").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.removeprefix("sha256-"), path
    for name in site.manifests():
        manifest = json.loads((site.store / "manifests" / name).read_bytes())
        for layer in (*manifest["layers"], manifest["config"]):
            assert (site.store / "blobs" / layer["digest"].replace(":", "-")).is_file(), (name, layer)
    return len(site.manifests()) == len(site.settings["models"])


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_at_random_moments(site: Site, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    settings, how = tmp_path / "models.json", site.server.behaviour
    settings.write_text(json.dumps(site.settings))
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(settings), "--status", str(site.status_file)]
    how.rate = 10_000_000
    for key, value in dice.choice(FAULTS).items():
        setattr(how, key, list(value) if isinstance(value, list) else value)
    for _ in range(dice.randint(1, 3)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0, 0.6))
        process.kill() if dice.random() < 0.7 else process.terminate()
        process.wait()
        whole(site)
    for key, value in vars(type(how)()).items():
        if key not in ("requests", "stopping"):
            setattr(how, key, value)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert whole(site) and site.same_as_served()
    assert site.status()["state"] == "done"
    assert sorted(path.name for path in (site.store / ".fetch").iterdir()) == ["checked.json", "lock"]
