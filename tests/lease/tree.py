"""What an instance needs on disk: Ollama as the vendor packs it, ours around it, and two models that never stop."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from holdfast import depot
from holdfast.lab.models import layout, roles
from holdfast.paths import ONHOST

# Different words, so that each model is a blob of its own and a process tells whose it is.
MODELS = {"coder": ("tick", "tock"), "reasoner": ("left", "right"), "third": ("up", "down")}
_WRAPPER = '#!/bin/sh\nexec python3 -IS "{program}" "$@"\n'


def unpack(folder: Path) -> Path:
    """The vendor's tree as it is in the depot, less what only a GPU needs."""
    depot.fetch(["ollama"])
    archive = depot.path("ollama")
    folder.mkdir(parents=True)
    skip = [f"--exclude=lib/ollama/{name}" for name in ("cuda_*", "vulkan", "mlx_*")]
    subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(folder), *skip], check=True)
    return folder


def around(vendor: Path, folder: Path) -> Path:
    """Our tree: the vendor's program and libraries, and the supervisor where Ollama looks for llama-server."""
    (folder / "bin").mkdir(parents=True)
    libraries = folder / "lib" / "ollama"
    libraries.mkdir(parents=True)
    os.link(
        vendor / "bin" / "ollama", folder / "bin" / "ollama"
    )  # a symlink would lead Ollama back to the vendor's tree
    for entry in (vendor / "lib" / "ollama").iterdir():
        if entry.name != "llama-server":
            (libraries / entry.name).symlink_to(entry)
    wrapper = libraries / "llama-server"
    wrapper.write_text(_WRAPPER.format(program=ONHOST / "lease" / "supervisor.py"))
    wrapper.chmod(0o755)
    return folder


def store(folder: Path) -> dict[str, str]:
    """A store with the models; returns the path of each one's weights -> model."""
    weights = {}
    for name, words in MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.gguf"
            roles.write_loop(path, words)
            before = set((folder / "blobs").iterdir()) if folder.exists() else set()
            layout.add(folder, f"{name}:latest", path, num_thread=1)
            new = set((folder / "blobs").iterdir()) - before
            weights[str(max(new, key=lambda blob: blob.stat().st_size))] = name
    (folder / "manifests" / "registry.ollama.ai").mkdir()
    (folder / "manifests" / "library").rename(folder / "manifests" / "registry.ollama.ai" / "library")
    return weights
