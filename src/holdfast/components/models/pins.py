"""Which models a workstation needs and by which digests they are recognised; locks/models.yml read into types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from holdfast import yaml_edit
from holdfast.depot.lock import UNVERIFIED
from holdfast.errors import HoldfastError
from holdfast.paths import LOCKS
from holdfast.settings import Workstation
from holdfast_onhost import models_manifest
from holdfast_onhost.fetch import Manner
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_manifest import Source

LOCK = LOCKS / "models.yml"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANNER = Manner(tries=4)


@dataclass(frozen=True)
class Model:
    """One model of the lock. `manifest` is "sha256:…", or empty where nobody has computed it from the bytes."""

    name: str
    manifest: str
    capabilities: tuple[str, ...]
    licence: str


def lock(file: Path = LOCK) -> dict[str, Model]:
    """The lock, by name. Raises HoldfastError that names what is wrong in it."""
    fix = f"correct {file} (git diff shows what changed)"
    try:
        entries = yaml.safe_load(file.read_text("utf-8"))
        out = {}
        for name, entry in entries.items():
            manifest = str(entry["manifest"])
            if manifest != UNVERIFIED and not _DIGEST.fullmatch(manifest):
                raise HoldfastError(
                    f"manifest: {manifest!r} cannot be used", where=f"{name} in {file}",
                    allowed=f"sha256: and 64 hexadecimal digits, or {UNVERIFIED}", fix=fix,
                )  # fmt: skip
            known = "" if manifest == UNVERIFIED else manifest
            out[str(name)] = Model(str(name), known, tuple(entry["capabilities"]), str(entry["licence"]))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise HoldfastError(f"the lock cannot be read: {error!r}", where=str(file), fix=fix) from error
    return out


def declared(ws: Workstation) -> list[str]:
    """The models that the instances name, each once, in the instances' order."""
    return list(dict.fromkeys(instance.model for instance in ws.instances.values()))


def digests(ws: Workstation, models: Mapping[str, Model] | None = None) -> tuple[dict[str, str], HoldfastError | None]:
    """Model -> manifest digest for every declared model, the site's own pins first; UNVERIFIED for one that nobody knows the
    digest of, and then the error that names all of those."""
    known = lock() if models is None else models
    found = {name: ws.models.pins.get(name) or (known[name].manifest if name in known else "") for name in declared(ws)}
    lacking = [name for name, digest in found.items() if not digest]
    if not lacking:
        return found, None
    states = ", ".join(f"{name} ({UNVERIFIED if name in known else 'in no lock'})" for name in lacking)
    problem = HoldfastError(
        f"manifest digests are not known: {states}; nobody has computed them from the bytes yet",
        where=str(LOCK), allowed="sha256: and 64 hexadecimal digits",
        fix=f"./holdfast depot update {' '.join(lacking)}, or pin in hosts.yml: models: {{pins: {{{lacking[0]!r}: 'sha256:…'}}}}",
    )  # fmt: skip
    return {name: digest or UNVERIFIED for name, digest in found.items()}, problem


def pinned(ws: Workstation, models: Mapping[str, Model] | None = None) -> dict[str, str]:
    """As digests(), but raises the error."""
    found, problem = digests(ws, models)
    if problem is not None:
        raise problem
    return found


def look_up(name: str, registry: str, user_agent: str) -> str:
    """The digest of the manifest that ``registry`` serves for ``name`` now: "sha256:…". Raises HoldfastError."""
    try:
        return models_manifest.digest(models_manifest.read(name, Source(registry, user_agent), MANNER))
    except FetchError as error:
        raise HoldfastError(error.message, fix=error.fix) from error


def update(name: str, registry: str, user_agent: str, file: Path = LOCK) -> str:
    """Fetch the manifest of `name`, hash its bytes, write the digest into the lock; returns "sha256:…".

    Everything else in the file stays as it is, comments included. Raises HoldfastError.
    """
    if name not in lock(file):
        raise HoldfastError(f"{name} is not in the lock", where=str(file), fix=f"add {name} to {file} first")
    digest = look_up(name, registry, user_agent)
    problem = HoldfastError(
        f"{name} has no line for its manifest", where=str(file), fix=f"add `manifest: {UNVERIFIED}`"
    )
    lines = yaml_edit.with_values(yaml_edit.read(file), name, {"manifest": digest})
    if lines is None:
        raise problem
    yaml_edit.replace(file, lines, lambda new: lock(new)[name].manifest == digest, problem)
    return digest
