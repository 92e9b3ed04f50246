"""Models in the depot: fetched and checked as on a workstation, listed, verified; a workstation takes them from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.cli.main import run
from holdfast.components.models import pins, stock
from holdfast.lab.models import make, registry
from holdfast_onhost import fetch_progress, models_store
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status

CODER, REASONER = "qwen2.5-coder:32b", "deepseek-r1:70b"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Server]:
    """A registry with both models, which the lock pins; a cache of the test's own."""
    digests = make(tmp_path / "served")
    known = {name: pins.Model(name, digest, (), "MIT") for name, digest in digests.items()}
    monkeypatch.setattr(pins, "lock", lambda file=None: {**known, "other:1b": pins.Model("other:1b", "", (), "MIT")})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with registry.serving(tmp_path / "served") as served:
        monkeypatch.setattr(stock, "REGISTRY", served.url)
        yield served


def said(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert run([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_the_registry_into_the_depot_and_from_there_onto_a_machine(
    server: registry.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got = said(["depot", "fetch", CODER, REASONER], capsys)
    assert set(got["models"]) == {CODER, REASONER} and got["artifacts"] == []
    asked = len(server.behaviour.requests)
    assert said(["depot", "fetch", CODER], capsys)["models"] == {CODER: got["models"][CODER]}
    listed = {model["name"]: model["depot"] for model in said(["depot", "list"], capsys)["models"]}
    assert listed == {**got["models"], "other:1b": None}
    assert said(["depot", "verify", CODER, REASONER], capsys)["damaged"] == {}
    models_store.make(str(tmp_path / "store"))
    settings = {
        "store": str(tmp_path / "store"), "source": f"file://{got['root']}/models/", "user_agent": "x",
        "models": [{"name": name, "manifest": digest} for name, digest in got["models"].items()],
    }  # fmt: skip
    pull(settings, Status(None, fetch_progress.silent))
    assert len(list((tmp_path / "store" / "blobs").iterdir())) == len(list((tmp_path / "served" / "blobs").iterdir()))
    assert len(server.behaviour.requests) == asked


def test_damage_in_the_depot_is_found_and_made_good(server: registry.Server, capsys: pytest.CaptureFixture[str]) -> None:
    said(["depot", "fetch", CODER], capsys)
    blob = max((stock.folder() / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert str(blob) in said(["depot", "verify", CODER], capsys, 1)["damaged"][CODER]
    said(["depot", "fetch", CODER], capsys)
    assert said(["depot", "verify", CODER], capsys)["damaged"] == {}
    assert said(["depot", "verify", REASONER], capsys, 1)["damaged"] == {REASONER: "not in the depot"}


def test_what_is_not_pinned_or_has_moved(server: registry.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["depot", "fetch", "other:1b"], capsys, 1)["error"]["fix"] == "./holdfast depot update other:1b"
    assert "add nobody:1b to" in said(["depot", "fetch", "nobody:1b"], capsys, 2)["error"]["fix"]
    server.behaviour.manifest_status = 412
    assert "artifacts.ollama.version" in said(["depot", "fetch", CODER], capsys, 1)["error"]["fix"]


def test_a_model_of_ones_own_is_looked_up_for_hosts_yml(
    server: registry.Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = stock.digest(CODER)
    known = pins.lock()
    monkeypatch.setattr(pins, "lock", lambda file=None: {REASONER: known[REASONER]})
    assert run(["depot", "update", CODER]) == 0
    out = capsys.readouterr().out
    assert f"{CODER} is a model of your own; in hosts.yml, below the host:" in out
    printed = yaml.safe_load(out[out.index("  models:") :])["models"]
    assert printed["pins"] == {CODER: own} and printed["shapes"][CODER]["architecture"] == "llama"
    assert "written to locks/" not in out
