"""The puller is killed at random moments while its registry misbehaves: whole models or a clear error, nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import signal
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


def puller(site: Site, folder: Path) -> list[str]:
    """The puller as its unit runs it."""
    settings = folder / "models.json"
    settings.write_text(json.dumps(site.settings))
    return [sys.executable, "-I", "-S", str(PROGRAM), str(settings), "--status", str(site.status_file)]


def whole(site: Site) -> bool:
    """Every model that is to be seen is there with all its blobs, and no blob is wrong."""
    for path in (site.store / "blobs").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.removeprefix("sha256-"), path
    for name in site.manifests():
        manifest = json.loads((site.store / "manifests" / name).read_bytes())
        for layer in (*manifest["layers"], manifest["config"]):
            assert (site.store / "blobs" / layer["digest"].replace(":", "-")).is_file(), (name, layer)
    return len(site.manifests()) == len(site.settings["models"])


def unfinished(site: Site) -> list[Path]:
    """Files of which something has come, and not all."""
    found = [path for path in (site.store / ".fetch").glob("*") if re.fullmatch("[0-9a-f]{64}", path.name)]
    begun = []
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # done since
            begun += [path] if path.stat().st_size else []
    return begun


def in_a_transfer(site: Site, process: subprocess.Popen[bytes]) -> bool:
    """Wait until bytes have come; False where the puller ended before."""
    while process.poll() is None:
        if unfinished(site):
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_in_a_transfer_costs_not_a_byte(site: Site, tmp_path: Path, how: signal.Signals) -> None:
    """The control of what follows: kills do hit transfers, and the next run asks for the rest alone."""
    command = puller(site, tmp_path)
    site.server.behaviour.rate = 2_000_000
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert in_a_transfer(site, process)
        time.sleep(0.2)
        process.send_signal(how)
    (part,) = unfinished(site)
    kept = part.stat().st_size
    assert kept and not whole(site)
    site.server.behaviour.rate = 0
    del site.server.behaviour.requests[:]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first = next(line for line in site.server.behaviour.requests if "/blobs/" in line)
    assert f"bytes={kept}-" in first, first
    assert whole(site) and site.same_as_served()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_at_random_moments(site: Site, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    how, command = site.server.behaviour, puller(site, tmp_path)
    how.rate = 10_000_000
    fault = dice.choice(FAULTS)
    for key, value in fault.items():
        setattr(how, key, list(value) if isinstance(value, list) else value)
    for number in range(dice.randint(1, 3)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number == 0:
            # The first one while bytes come; the others at any time.
            hit = in_a_transfer(site, process)
            assert hit or not set(fault) <= {"mode"}, "a registry that serves was never asked"
        time.sleep(dice.uniform(0, 0.3 if number == 0 else 0.6))
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
