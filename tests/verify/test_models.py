"""The model store: every declared model is there, whole, as pinned; servers cannot write to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.verify.locks import manifest_digest
from tests.verify.machine import Machine, Shape

LARGE = 1 << 30  # bytes; above it a blob's content is only hashed with --deep


def manifest_path(store: str, model: str) -> str:
    """Ollama's own layout: manifests/HOST/NAMESPACE/MODEL/TAG."""
    name, tag = model.rsplit(":", 1)
    parts = ["registry.ollama.ai", "library", name] if "/" not in name else name.split("/")
    return "/".join([store, "manifests", *(parts if len(parts) == 3 else ["registry.ollama.ai", *parts]), tag])


@pytest.fixture(scope="module")
def manifests(machine: Machine, shape: Shape) -> dict[str, bytes]:
    """Model -> its manifest as it lies on the machine; empty where there is none."""
    return {
        i.model: machine.sh("cat %s", manifest_path(shape.store, i.model)).stdout_bytes for i in shape.instances.values()
    }  # fmt: skip


def test_store_is_roots_and_servers_may_read_it(files: Callable[..., dict[str, Any]], shape: Shape) -> None:
    # A store that fills a disk of its own has that file system's lost+found in it.
    own = (f"{shape.store}/.fetch", f"{shape.store}/lost+found")
    found = {path: entry for path, entry in files(shape.store, below=True).items() if not path.startswith(own)}
    assert found[shape.store], f"{shape.store} is not there"
    seen = {path: (e["kind"], e["mode"], e["user"], e["group"]) for path, e in found.items()}
    right = {("folder", "0755", "root", "root"), ("file", "0644", "root", "root")}
    odd = {path: what for path, what in seen.items() if what not in right}
    assert not odd, f"neither folders 0755 nor files 0644 of root: {odd}"


def test_manifests_are_the_pinned_ones(manifests: dict[str, bytes], shape: Shape) -> None:
    there = {model: "sha256:" + hashlib.sha256(raw).hexdigest() for model, raw in manifests.items()}
    assert there == {model: manifest_digest(model, shape.pins) for model in manifests}


def test_every_model_is_whole(
    manifests: dict[str, bytes], shape: Shape, files: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    blobs: dict[str, int] = {}
    for model, raw in manifests.items():
        assert raw, f"{model} has no manifest"
        manifest = json.loads(raw)
        blobs |= {layer["digest"].replace(":", "-"): layer["size"] for layer in [*manifest["layers"], manifest["config"]]}
    paths = {f"{shape.store}/blobs/{name}": size for name, size in blobs.items()}
    found = files(*paths)
    wrong = {path: found[path] for path, size in paths.items() if not found[path] or found[path]["size"] != size}
    assert not wrong, f"missing or of the wrong size: {wrong}"
    small = [path for path, size in paths.items() if size <= LARGE or request.config.getoption("--deep")]
    hashed = files(*small, hashes=True)
    bad = [path for path in small if hashed[path]["sha256"] != path.rpartition("sha256-")[2]]
    assert not bad, f"their content is not what their name says: {bad}"


def test_puller_starts_by_itself_and_has_nothing_left_to_do(machine: Machine) -> None:
    done = machine.sh("systemctl show -p UnitFileState,ActiveState,Result holdfast-models.service")
    state = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert state["UnitFileState"] == "enabled", state
    assert (state["ActiveState"], state["Result"]) == ("inactive", "success"), state


@pytest.mark.promise("A model server cannot change the models")
def test_servers_cannot_write_the_store(confined: dict[str, Any], shape: Shape) -> None:
    for unit in shape.ollama_units:
        seen = confined["units"][unit]
        assert "problem" not in seen, f"{unit}: {seen}"
        # The positive control: where the server may write, the same probe can.
        assert seen["home"]["server"] == "written", f"{unit}: the probe cannot write at all: {seen['home']}"
        assert "ead-only" in seen["store"]["root"], f"{unit}: the store is mounted writable: {seen['store']}"
        assert seen["store"]["server"] != "written", f"{unit} can write the store"
