"""Models in the local depot: a store in Ollama's own layout, filled and checked by the puller itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from holdfast import depot
from holdfast.components.models import files, pins
from holdfast.components.models.options import Options
from holdfast.errors import HoldfastError
from holdfast.progress import Progress
from holdfast_onhost import models_manifest, models_store
from holdfast_onhost.fetch import Manner
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status
from holdfast_onhost.models_store import Name

REGISTRY = str(Options.model_fields["registry"].default)


class _Shown(Status):
    """The puller's state as progress of one transfer."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(None, lambda event, **values: None)
        self._progress = progress

    def _write(self) -> None:
        value = self._values
        if value["total"]:
            self._progress.bytes(int(value["bytes"]), int(value["total"]), str(value["model"]))


def folder() -> Path:
    """The store in the local depot."""
    return depot.root() / depot.MODELS


def digest(name: str) -> str:
    """The manifest that the lock pins for `name`. Raises HoldfastError where there is none."""
    known = pins.lock()
    if name in known and known[name].manifest:
        return known[name].manifest
    fix = f"./holdfast depot update {name}" if name in known else f"add {name} to {pins.LOCK} first"
    raise HoldfastError(f"no manifest of {name} is pinned", where=str(pins.LOCK), fix=fix, code=1 if name in known else 2)


def fetch(names: Iterable[str], registry: str, progress: Progress, manner: Manner = pins.MANNER) -> dict[str, str]:
    """Put models into the local depot as the lock pins them; name -> manifest digest. Raises HoldfastError."""
    wanted = {name: digest(name) for name in names}
    models_store.make(str(folder()))
    settings = {
        "store": str(folder()), "source": registry, "user_agent": files.user_agent(),
        "models": [{"name": name, "manifest": manifest} for name, manifest in wanted.items()],
    }  # fmt: skip
    try:
        with progress.phase(f"depot: {', '.join(wanted)}"):
            pull(settings, _Shown(progress), manner)
    except FetchError as error:
        raise HoldfastError(error.message, fix=error.fix) from error
    return wanted


def there() -> dict[str, str]:
    """The models of the lock in the local depot: name -> digest of the manifest that lies there."""
    out = {}
    for name in pins.lock():
        raw = _manifest(name)
        if raw is not None:
            out[name] = models_manifest.digest(raw)
    return out


def verify(names: Iterable[str]) -> dict[str, str]:
    """Read and hash every file of these models again. Name -> "" when intact, else what is wrong."""
    return {name: _wrong(name) for name in names}


def _manifest(name: str) -> bytes | None:
    try:
        return (folder() / "manifests" / Name.parse(name).path).read_bytes()
    except OSError:
        return None


def _wrong(name: str) -> str:
    raw = _manifest(name)
    if raw is None:
        return "not in the depot"
    if (got := models_manifest.digest(raw)) != digest(name):
        return f"its manifest is {got}, pinned is {digest(name)}"
    for layer in (*json.loads(raw)["layers"], json.loads(raw)["config"]):
        path = folder() / "blobs" / str(layer["digest"]).replace(":", "-")
        try:
            _, found = depot.digest(path)
        except OSError as error:
            return f"{path}: {error.strerror}"
        if f"sha256:{found}" != layer["digest"]:
            return f"{path}: found sha256:{found}"
    return ""
