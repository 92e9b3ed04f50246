"""What no declared model needs is removed, and nothing while a declared one is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from holdfast.paths import ROOT
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_sweep import sweep

from .models_site import Site

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_sweep.py"


def test_undeclared_model_goes_with_what_only_it_needs(site: Site) -> None:
    site.pull()
    gone, stays = site.settings["models"]
    site.settings["models"] = [stays]
    (site.store / ".fetch" / ("ab" * 32)).write_bytes(b"half a file")
    kept = {layer["digest"].replace(":", "-") for layer in blobs(site, stays["name"])}
    assert kept < {path.name for path in (site.store / "blobs").iterdir()}
    settings = site.status_file.with_name("models.json")
    settings.write_text(json.dumps(site.settings))
    done = subprocess.run([sys.executable, "-I", "-S", str(PROGRAM), str(settings)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (site.store / "blobs").iterdir()} == kept
    name, _, tag = stays["name"].partition(":")
    assert site.manifests() == [f"registry.ollama.ai/library/{name}/{tag}"]
    assert not (site.store / "manifests" / "registry.ollama.ai" / "library" / gone["name"].partition(":")[0]).exists()
    assert sorted(path.name for path in (site.store / ".fetch").iterdir()) == ["checked.json", "lock"]
    asked = len(site.server.behaviour.requests)
    site.pull()
    assert len(site.server.behaviour.requests) == asked
    assert sweep(site.settings) == 0


def blobs(site: Site, name: str) -> list[dict[str, str]]:
    model, _, tag = name.partition(":")
    raw = (site.store / "manifests" / "registry.ollama.ai" / "library" / model / tag).read_bytes()
    manifest = json.loads(raw)
    return [*manifest["layers"], manifest["config"]]


def test_nothing_goes_while_a_declared_model_is_missing(site: Site) -> None:
    site.pull()
    before = sorted(site.store.rglob("*"))
    site.settings["models"] = [{"name": "new:1b", "manifest": "sha256:" + "1" * 64}]
    with pytest.raises(FetchError, match="new:1b is not in the store; nothing was removed"):
        sweep(site.settings)
    assert sorted(site.store.rglob("*")) == before


@pytest.mark.parametrize("gone", [0, 1])
def test_what_two_models_share_stays(gone: int, site: Site) -> None:
    """Whichever goes: the other is whole, to its last shared licence."""
    site.pull()
    one, two = ({blob["digest"] for blob in blobs(site, model["name"])} for model in site.settings["models"])
    assert one & two, "they do share something"
    stays = site.settings["models"][1 - gone]
    site.settings["models"] = [stays]
    assert sweep(site.settings) > 0
    there = {path.name.replace("-", ":") for path in (site.store / "blobs").iterdir()}
    assert there == {blob["digest"] for blob in blobs(site, stays["name"])} >= one & two


def test_one_manifest_under_two_names(site: Site) -> None:
    """The blobs are those of a declared model, whatever else had them."""
    site.pull()
    first = site.settings["models"][0]["name"].replace(":", "/")
    library = site.store / "manifests" / "registry.ollama.ai" / "library"
    (library / "copy").mkdir()
    (library / "copy" / "of-it").write_bytes((library / first).read_bytes())
    assert sweep(site.settings) == 0
    assert not (library / "copy").exists() and site.same_as_served() and len(site.manifests()) == 2
