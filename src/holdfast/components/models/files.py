"""What the puller finds on the machine: its settings and its unit (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from holdfast import depot
from holdfast.components.models.options import Options
from holdfast.depot import lock as depot_lock
from holdfast.operations.place import Directory
from holdfast.operations.unit import config_hash
from holdfast.render import render
from holdfast.settings import Workstation

DEFAULT = str(Options.model_fields["store"].default)
SETTINGS = "/etc/holdfast/models.json"
STATUS = "/run/holdfast/models/status.json"
UNIT = "holdfast-models.service"


def folders(ws: Workstation) -> list[Directory]:
    """The store's own; a server on a read-only store does not start without them."""
    return [Directory(ws.models.store + below) for below in ("", "/blobs", "/manifests")]


def source(ws: Workstation) -> str:
    """What holdfast_onhost.models_manifest.Source takes: a registry's address, or the depot's folder of models."""
    return depot.models(ws.depot) if ws.models.registry == "depot" else ws.models.registry


def adopted(ws: Workstation) -> list[str]:
    """Where another Ollama may have left models; ~ alone is the login user's."""
    user = f"~{ws.login_user}"
    own = [user + path[1:] if path == "~" or path.startswith("~/") else path for path in ws.models.adopt]
    before = [] if ws.models.store == DEFAULT else [DEFAULT]
    return list(dict.fromkeys([*own, *before, "/usr/share/ollama", user, "~root"]))


def user_agent() -> str:
    """The registry decides by it whether this Ollama is new enough for a model (HTTP 412 if not)."""
    return f"ollama/{depot_lock.pin('ollama').version} (amd64 linux) Go/go1.26.4"


def settings(ws: Workstation, pins: Mapping[str, str]) -> str:
    """The text of models.json."""
    value = {
        "store": ws.models.store,
        "source": source(ws),
        "limit": ws.models.limit_mib_s * (1 << 20),
        "least": ws.models.least_kib_s * (1 << 10),
        "user_agent": user_agent(),
        "adopt": adopted(ws),
        "models": [{"name": name, "manifest": digest} for name, digest in pins.items()],
    }
    return json.dumps(value, indent=2) + "\n"


def config(settings_text: str) -> str:
    """What the running puller is compared with."""
    return config_hash(settings_text)


def unit(ws: Workstation, settings_text: str) -> str:
    """The text of holdfast-models.service."""
    address = source(ws)
    return render(
        "models/etc/systemd/system/holdfast-models.service.j2",
        store=ws.models.store, settings=SETTINGS, status=STATUS, config=config(settings_text),
        folder=ws.depot.replace("%", "%%") if address.startswith("file:") else "",
    )  # fmt: skip
