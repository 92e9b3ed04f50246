"""Ollama as the official ollama-linux-amd64.tar.zst has it (bin/ollama, lib/ollama/llama-server …), without CUDA."""

from __future__ import annotations

from pathlib import Path

from holdfast.depot.builders import Built, golang, llama, pack
from holdfast.depot.lock import Pin
from holdfast.progress import Progress


def build(pin: Pin, work: Path, log: Path, progress: Progress) -> Built:
    """bin/ollama from the Go module, llama-server and llama-quantize from Debian. CPU only."""
    tree = work / "tree"
    (tree / "bin").mkdir(parents=True)
    stamps = {"github.com/ollama/ollama/version.Version": pin.version}
    golang.build("ollama", pin, stamps, tree / "bin", log, progress, cgo=True)
    parts = llama.add(tree, work, log, progress)
    file = work / pin.filename
    pack.tar_zst(tree, file)
    return Built(file, parts)
