"""A served registry with the two small models, an empty store, and the settings that join them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.lab.models import registry
from holdfast_onhost import fetch_progress, models_store
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status

from .conftest import QUICK


class Site:
    """`served` is the registry's folder; `store` lies in `folder`."""

    def __init__(self, server: registry.Server, served: Path, pins: dict[str, str], folder: Path) -> None:
        self.server, self.served, self.store = server, served, folder / "store"
        models_store.make(str(self.store))
        self.status_file = folder / "status.json"
        self.settings: dict[str, Any] = {
            "store": str(self.store),
            "source": server.url,
            "user_agent": "ollama/0.32.15",
            "models": [{"name": name, "manifest": digest} for name, digest in pins.items()],
        }

    def pull(self) -> None:
        pull(self.settings, Status(str(self.status_file), fetch_progress.silent), QUICK)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.status_file.read_text()))

    def manifests(self) -> list[str]:
        root = self.store / "manifests"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def same_as_served(self) -> bool:
        mine = {path.name: path.read_bytes() for path in (self.store / "blobs").iterdir()}
        return mine == {path.name: path.read_bytes() for path in (self.served / "blobs").iterdir()}
