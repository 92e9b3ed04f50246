"""A model's shape from its registry: of the GGUF only the header is fetched, some megabytes at its beginning."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import IO, cast

import yaml

from holdfast.components.models.pins import LOCK, MANNER
from holdfast.errors import HoldfastError
from holdfast.fit.header import MOST_BYTES, HeaderError, read
from holdfast.fit.lock import shape_to_lock, write
from holdfast.fit.reading import shape_of
from holdfast.fit.shape import Shape
from holdfast_onhost import fetch_http, models_manifest
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_manifest import Source
from holdfast_onhost.models_store import Blob, Name

_MODEL = "application/vnd.ollama.image.model"
_BESIDE = ("application/vnd.ollama.image.projector", "application/vnd.ollama.image.adapter")


def update(name: str, registry: str, user_agent: str, file: Path = LOCK) -> Shape:
    """Read the shape of ``name`` from the beginning of its GGUF and write it into the lock. Raises HoldfastError."""
    shape = look_up(name, registry, user_agent)
    write(name, shape, file)
    return shape


def look_up(name: str, registry: str, user_agent: str) -> Shape:
    """The shape of ``name``, from the beginning of its GGUF as ``registry`` serves it. Raises HoldfastError."""
    source = Source(registry, user_agent)
    try:
        manifest = json.loads(models_manifest.read(name, source, MANNER))
        layers = {layer["mediaType"]: layer for layer in manifest["layers"]}
        beside = next((kind for kind in _BESIDE if kind in layers), "")
        if beside:
            kind = beside.rpartition(".")[2]
            shape = Shape("", (), 0, 0, 0, 0, 0, 0, 0, 0, unknown=f"it has a part of the kind {kind}, which is not known here")
        else:
            model = layers[_MODEL]
            hexadecimal = re.fullmatch("sha256:([0-9a-f]{64})", str(model["digest"]))
            if hexadecimal is None:
                raise ValueError(f"digest {model['digest']!r:.80}")
            shape = _shape(name, source, Blob(hexadecimal[1], int(model["size"])))
    except FetchError as error:
        raise HoldfastError(error.message, fix=error.fix) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HoldfastError(f"{name}: the manifest names no model: {error!r:.200}", fix="check the model's name") from error
    return shape


def for_hosts(name: str, manifest: str, shape: Shape) -> list[str]:
    """The lines for hosts.yml, below the host's name, that make ``name`` known there: its pin and its shape."""
    entry = {"models": {"pins": {name: manifest}, "shapes": {name: shape_to_lock(shape)}}}
    text = yaml.safe_dump(entry, sort_keys=False, width=110, default_flow_style=None)
    return [f"  {line}" for line in text.splitlines()]


def _shape(name: str, source: Source, blob: Blob) -> Shape:
    url = source.blob_url(Name.parse(name), blob)
    try:
        answer = fetch_http.get(url, end=min(MOST_BYTES, blob.size) - 1, headers=source.headers,
                                timeout=MANNER.stall, pace=MANNER.pace)  # fmt: skip
        try:
            if answer.status not in (200, 206):
                raise HoldfastError(f"{url}: HTTP {answer.status} {answer.excerpt()}".strip(), fix="check models.registry")
            header = read(cast(IO[bytes], answer), url)
            if sum(tensor.bytes for tensor in header.tensors) > blob.size:
                raise HeaderError("its tensors take more than the file has", where=url, fix="is this the model's own file?")
            return shape_of(header, url)
        finally:
            answer.close()
    except (OSError, http.client.HTTPException) as error:
        raise HoldfastError(f"{url}: {error!r:.200}", fix="check the network, then run the same again") from error
