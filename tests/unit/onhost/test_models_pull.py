"""The model puller against a registry on loopback: whole models or none, and every refusal says what to do."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.lab.models import make, registry
from holdfast.paths import ROOT
from holdfast_onhost import fetch_disk, fetch_progress, models_store
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status
from holdfast_onhost.models_store import Name

from .conftest import QUICK

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_pull.py"
CODER = "qwen2.5-coder:32b"


class Site:
    """A served registry, an empty store, and the settings that join them."""

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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("served")
    return folder, make(folder)


@pytest.fixture
def site(served: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    with registry.serving(served[0]) as server:
        yield Site(server, *served, tmp_path)


def test_models_arrive_under_their_names_and_a_second_run_asks_nothing(site: Site) -> None:
    site.pull()
    assert site.same_as_served()
    assert site.manifests() == [
        "registry.ollama.ai/library/deepseek-r1/70b",
        "registry.ollama.ai/library/qwen2.5-coder/32b",
    ]
    assert {oct(path.stat().st_mode & 0o777) for path in site.store.rglob("*") if path.is_file()} == {"0o644"}
    asked = len(site.server.behaviour.requests)
    site.pull()
    assert len(site.server.behaviour.requests) == asked


def test_damaged_blob_is_fetched_again_and_others_are_not(site: Site) -> None:
    site.pull()
    blob = max((site.store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"?")
    before = len(site.server.behaviour.requests)
    site.pull()
    assert blob.read_bytes() == data
    assert [line.split()[1].rpartition("/")[2] for line in site.server.behaviour.requests[before:]] == [
        blob.name.replace("-", ":")
    ]


def test_moved_manifest_names_both_digests_and_the_way_out(site: Site) -> None:
    real = site.settings["models"][0]["manifest"]
    site.settings["models"][0]["manifest"] = "sha256:" + "5" * 64
    with pytest.raises(FetchError) as caught:
        site.pull()
    assert real in caught.value.message
    assert "5" * 64 in caught.value.message
    assert caught.value.fix.endswith(f"./holdfast depot update {CODER}")
    assert site.manifests() == []


@pytest.mark.parametrize(
    ("status", "told", "fix"),
    [
        (404, "HTTP 404", "name and tag"),
        (412, "newer Ollama", "depot update ollama"),
        (403, "HTTP 403", "models.registry"),
    ],
)
def test_refusals_of_the_registry_are_final(site: Site, status: int, told: str, fix: str) -> None:
    site.server.behaviour.manifest_status = status
    with pytest.raises(FetchError, match=told) as caught:
        site.pull()
    assert not isinstance(caught.value, Unreachable)
    assert fix in caught.value.fix
    assert len(site.server.behaviour.requests) == 1


def test_busy_registry_is_tried_later(site: Site) -> None:
    site.server.behaviour.manifest_status = 503
    with pytest.raises(Unreachable, match=r"HTTP 503.*4 tries"):
        site.pull()
    site.server.behaviour.manifest_status = 200
    site.server.behaviour.blob_statuses = [429, 500]
    site.pull()
    assert site.same_as_served()


def test_corrupt_blob_gives_no_model(site: Site) -> None:
    site.server.behaviour.corrupt = True
    with pytest.raises(FetchError, match="expected sha256"):
        site.pull()
    assert site.manifests() == []
    site.server.behaviour.corrupt = False
    site.pull()
    assert site.same_as_served()


def test_room_is_checked_for_all_models_before_the_first_byte(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: 8_000_000)  # enough for one of the two
    with pytest.raises(FetchError, match=f"are needed in {site.store}, 8000000 are free"):
        site.pull()
    assert not [line for line in site.server.behaviour.requests if "/blobs/" in line]
    monkeypatch.undo()
    site.pull()
    assert site.same_as_served()


def test_store_that_is_not_mounted_is_not_made(site: Site, tmp_path: Path) -> None:
    site.settings["store"] = str(tmp_path / "unmounted")
    with pytest.raises(FetchError, match="does not exist"):
        site.pull()
    assert not (tmp_path / "unmounted").exists()


def test_manifest_of_nonsense_is_refused(site: Site) -> None:
    place = site.served / "manifests" / "library" / "odd" / "one"
    for raw in (b"[]", b'{"layers":[{"digest":"sha256:../../etc","size":1}],"config":{"digest":"x","size":1}}'):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(raw)
        site.settings["models"] = [{"name": "odd:one", "manifest": "sha256:" + hashlib.sha256(raw).hexdigest()}]
        with pytest.raises(FetchError, match="odd:one"):
            site.pull()
    place.unlink()
    place.parent.rmdir()


def test_kills_at_random_moments_end_in_whole_models(site: Site, tmp_path: Path) -> None:
    site.server.behaviour.rate = 12_000_000
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(settings), "--status", str(site.status_file)]
    dice = random.Random(3)
    for number in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.1, 0.3))
        process.kill() if number % 2 else process.terminate()
        process.wait()
        for name in site.manifests():
            raw = (site.store / "manifests" / name).read_bytes()
            for digest in [layer["digest"] for layer in json.loads(raw)["layers"]]:
                blob = site.store / "blobs" / digest.replace(":", "-")
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == digest.removeprefix("sha256:")
    site.server.behaviour.rate = 0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert site.same_as_served()
    assert site.status()["state"] == "done"


def test_program_reports_and_exits_by_kind_of_failure(site: Site, tmp_path: Path) -> None:
    settings = tmp_path / "models.json"
    site.settings["models"][0]["manifest"] = "sha256:" + "5" * 64
    settings.write_text(json.dumps(site.settings))
    command = [sys.executable, "-I", str(PROGRAM), str(settings), "--status", str(site.status_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"error: {CODER}: ")
    assert done.stderr.splitlines()[-1].startswith("Fix: ")
    assert site.status()["state"] == "failed"
    assert "depot update" in site.status()["fix"]
    settings.write_text("{")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert "writes it anew" in site.status()["fix"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("qwen2.5-coder:32b", "registry.ollama.ai/library/qwen2.5-coder/32b"),
        ("someone/model:q4", "registry.ollama.ai/someone/model/q4"),
        ("127.0.0.1:5000/library/x:y", "127.0.0.1:5000/library/x/y"),
        ("hub.example/some/x:y", "hub.example/some/x/y"),
    ],
)
def test_names_are_read_as_ollama_reads_them(text: str, path: str) -> None:
    assert Name.parse(text).path == path


@pytest.mark.parametrize("text", ["", "qwen", "../x:y", "a/b/c/d:e", "x:../y", "x: y"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(FetchError, match="no model name"):
        Name.parse(text)
