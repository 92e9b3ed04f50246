"""What the puller finds on the machine: its settings and its unit (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from holdfast.depot import lock as depot_lock
from holdfast.operations.place import Directory
from holdfast.operations.unit import config_hash
from holdfast.render import render
from holdfast.settings import Workstation

STORE = "/var/lib/holdfast/models"
SETTINGS = "/etc/holdfast/models.json"
STATUS = "/run/holdfast/models/status.json"
UNIT = "holdfast-models.service"


def folders() -> list[Directory]:
    """The store's own; a server on a read-only store does not start without them."""
    return [Directory(path) for path in (STORE, f"{STORE}/blobs", f"{STORE}/manifests")]


def user_agent() -> str:
    """The registry decides by it whether this Ollama is new enough for a model (HTTP 412 if not)."""
    return f"ollama/{depot_lock.pin('ollama').version} (amd64 linux) Go/go1.26.4"


def settings(ws: Workstation, pins: Mapping[str, str]) -> str:
    """The text of models.json."""
    value = {
        "store": STORE,
        "source": ws.models.registry,
        "limit": ws.models.limit_mib_s * (1 << 20),
        "user_agent": user_agent(),
        "models": [{"name": name, "manifest": digest} for name, digest in pins.items()],
    }
    return json.dumps(value, indent=2) + "\n"


def config(settings_text: str) -> str:
    """What the running puller is compared with."""
    return config_hash(settings_text)


def unit(settings_text: str) -> str:
    """The text of holdfast-models.service."""
    return render(
        "models/etc/systemd/system/holdfast-models.service.j2",
        store=STORE, settings=SETTINGS, status=STATUS, config=config(settings_text),
    )  # fmt: skip
