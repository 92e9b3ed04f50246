"""The folder that the registry serves: blobs/sha256-HEX and manifests/NAMESPACE/MODEL/TAG, as in Ollama's own store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf

from holdfast.errors import HoldfastError

_LICENCE = "Made by Holdfast from nothing; no training data.  Free for any use.\n"


def add(folder: Path, model: str, path: Path, **parameters: Any) -> str:
    """Adds the GGUF at `path` as `model` ("NAME:TAG"), with these `parameters` of Ollama's besides where it stops.

    Returns the digest of its manifest ("sha256:…").
    """
    architecture = _architecture(path)
    layers = [
        _layer("application/vnd.ollama.image.model", *_blob_of_file(folder, path)),
        _layer("application/vnd.ollama.image.license", *_blob(folder, _LICENCE.encode())),
        _layer("application/vnd.ollama.image.params", *_blob(folder, _json({"stop": ["</s>"], **parameters}))),
    ]
    config = {
        "model_format": "gguf",
        "model_family": architecture,
        "model_families": [architecture],
        "model_type": "lab",
        "file_type": "F32",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": _layer("application/vnd.docker.container.image.v1+json", *_blob(folder, _json(config))),
            "layers": layers,
        }
    )
    name, _, tag = model.partition(":")
    place = folder / "manifests" / "library" / name / (tag or "latest")
    place.parent.mkdir(parents=True, exist_ok=True)
    _write(place, manifest)
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def blob_path(folder: Path, digest: str) -> Path:
    """Where the blob with `digest` ("sha256:HEX") lies."""
    return folder / "blobs" / digest.replace(":", "-")


def _architecture(path: Path) -> str:
    try:
        field = gguf.GGUFReader(path).get_field("general.architecture")
        if field is None:
            raise ValueError("it does not say its architecture")
        return str(field.contents())
    except (OSError, ValueError, IndexError) as error:
        raise HoldfastError(f"{path} is no GGUF file: {error}", fix="name a readable .gguf file") from error


def _layer(media_type: str, digest: str, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _blob(folder: Path, data: bytes) -> tuple[str, int]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    _write(blob_path(folder, digest), data)
    return digest, len(data)


def _blob_of_file(folder: Path, path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    target = blob_path(folder, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(path, half)
    half.replace(target)
    return digest, target.stat().st_size


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(data)
    half.replace(path)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
