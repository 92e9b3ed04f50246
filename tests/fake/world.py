"""What surrounds the simulated machine: settings, a depot, a control server's key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fake.cards import LEFT, RIGHT
from tests.fake.machine import Machine
from tests.fake.tailnet import KEYRING_BYTES, KEYRING_SHA256

from holdfast.depot import lock
from holdfast.paths import cache_dir

DEPOT = "http://depot.test:8000"
KEY = "hskey-auth-canary-8d1f03b7c2"
KEY_VARIABLE = "FAKE_TAILNET_KEY"
DISTRIBUTIONS = [("debian", "bookworm"), ("debian", "trixie"), ("ubuntu", "jammy"), ("ubuntu", "noble")]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def site(**own: Any) -> dict[str, Any]:
    """A host's block: dual_3090, everything from a depot, a control server of one's own. ``own`` comes over it."""
    names = ["qwen2.5-coder:32b", "deepseek-r1:70b"]
    return {
        "name": "gpu-box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"},
        "require_gpu": False, "depot": DEPOT, "models": {"pins": {name: "sha256:" + digest(name) for name in names}},
        "tailscale": {"login_server": "https://headscale.test", "auth_key": {"env": KEY_VARIABLE}}, **own,
    }  # fmt: skip


def record(origin: str) -> None:
    """built.json: this computer's depot has Ollama (``origin``) and Tailscale."""
    ollama, tailscale = lock.pin("ollama"), lock.pin("tailscale")
    entries: dict[str, Any] = {
        pin.name: {
            "name": pin.name, "version": pin.version, "origin": origin, "inputs": "", "file": pin.file, "size": 1000,
            "sha256": digest(pin.name),
        }
        for pin in (ollama, tailscale)
    }  # fmt: skip
    entries["tailscale"]["also"] = {"apt/tailscale/keyring.gpg": [len(KEYRING_BYTES), KEYRING_SHA256]}
    file: Path = cache_dir() / "built.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(entries))


def machine(distribution: str = "debian", codename: str = "bookworm", *, python: bool = True) -> Machine:
    """A bare machine that reaches the depot and the control server."""
    m = Machine(distribution, codename, python=python)
    m.offers = {
        f"{DEPOT}/{lock.pin('ollama').file}": digest("ollama"), f"{DEPOT}/apt/tailscale/keyring.gpg": KEYRING_SHA256
    }  # fmt: skip
    m.keys = (KEY,)
    return m


__all__ = ["DISTRIBUTIONS", "KEY", "KEY_VARIABLE", "LEFT", "RIGHT", "digest", "machine", "record", "site"]
