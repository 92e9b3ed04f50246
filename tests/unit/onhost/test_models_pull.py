"""The model puller against a registry on loopback: whole models or none, and every refusal says what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast.paths import ROOT
from holdfast_onhost import fetch_disk, models_store
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.models_store import Name

from .models_site import Site

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_pull.py"
CODER = "qwen2.5-coder:32b"


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
        (412, "newer Ollama than 0.32.15", "artifacts.ollama.version"),
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


@pytest.mark.parametrize(
    "fault",
    [
        {"stall_after": 1_000_000}, {"drop_after": 1_000_000}, {"mode": "redirect"}, {"mode": "norange"}, {"mode": "plain"},
        {"blob_statuses": [429, 200, 503, 408]}, {"manifest_statuses": [429, 500]},
        {"mode": "redirect", "blob_statuses": [200, 403]},
    ],
    ids=str,
)  # fmt: skip
def test_faults_of_a_registry_that_pass(site: Site, fault: dict[str, Any]) -> None:
    for key, value in fault.items():
        setattr(site.server.behaviour, key, value)
    site.pull()
    assert site.same_as_served() and len(site.manifests()) == 2


def test_blob_that_the_registry_lacks(site: Site) -> None:
    site.server.behaviour.blob_statuses = [404]
    with pytest.raises(FetchError, match="HTTP 404") as caught:
        site.pull()
    assert "check the pin" in caught.value.fix and site.manifests() == []


def test_disk_that_fills_on_the_way_is_told_and_what_is_there_is_used_again(site: Site, tmp_path: Path) -> None:
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        f"sys.argv = ['models_pull.py', {str(settings)!r}, '--status', {str(site.status_file)!r}];"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "File too large" in site.status()["error"] and "make room" in site.status()["fix"]
    assert site.manifests() == []
    assert max(path.stat().st_size for path in (site.store / ".fetch").iterdir()) == 1_000_000
    site.pull()
    assert site.same_as_served()
    assert any(line.rpartition(" ")[2].startswith("bytes=1000000-") for line in site.server.behaviour.requests)


def test_folder_of_a_depot_is_a_source(site: Site, tmp_path: Path) -> None:
    """Ollama's own layout, as files or over HTTP; no registry."""
    site.pull()
    depot = tmp_path / "depot" / "models"
    shutil.copytree(site.store, depot)
    asked = len(site.server.behaviour.requests)
    handler = partial(SimpleHTTPRequestHandler, directory=str(depot.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, args=(0.02,), daemon=True).start()
        for address in (f"file://{depot}/", f"http://127.0.0.1:{files.server_port}/models/"):
            shutil.rmtree(site.store)
            models_store.make(str(site.store))
            site.settings["source"] = address
            site.pull()
            assert site.same_as_served() and len(site.manifests()) == 2
        files.shutdown()
    assert len(site.server.behaviour.requests) == asked
    site.settings["models"] = [{"name": "other:1b", "manifest": "sha256:" + "1" * 64}]
    site.settings["source"] = f"file://{depot}/"
    with pytest.raises(FetchError, match="No such file"):
        site.pull()


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
