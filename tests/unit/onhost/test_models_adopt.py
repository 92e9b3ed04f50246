"""What another Ollama has is taken over by its digest, checked, and left as it is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.paths import ROOT
from holdfast_onhost import fetch_disk, models_adopt
from holdfast_onhost.models_adopt import adopt, stores
from holdfast_onhost.models_status import Status

from .models_site import Site

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_adopt.py"


class Lines:
    """What the program writes to the journal."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **values: Any) -> None:
        self.seen.append((event, values))

    def how(self) -> list[str]:
        return [values["how"] for event, values in self.seen if event == "adopted"]


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Path:
    """A home with .ollama/models, in it what the registry has, under Ollama's own names."""
    store = tmp_path / "home" / ".ollama" / "models"
    shutil.copytree(site.served / "blobs", store / "blobs")
    shutil.copytree(site.served / "manifests", store / "manifests" / "registry.ollama.ai")
    for path in store.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    site.settings["adopt"] = [str(tmp_path / "home")]
    return store


def picture(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {path: path.lstat() for path in folder.rglob("*") if path.is_file()}
    return {str(p): (s.st_mode, s.st_uid, s.st_mtime_ns, p.read_bytes()) for p, s in found.items()}


def run(site: Site) -> Lines:
    lines = Lines()
    adopt(site.settings, Status(str(site.status_file), lines))
    return lines


def blobs_asked(site: Site) -> list[str]:
    return [line for line in site.server.behaviour.requests if "/blobs/" in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may own what is linked")
def test_roots_files_are_linked_and_nothing_is_downloaded(site: Site, other: Path) -> None:
    before = picture(other)
    assert set(run(site).how()) == {"linked"}
    site.pull()
    assert site.same_as_served()
    assert site.server.behaviour.requests == []
    assert picture(other) == before
    for path in (site.store / "blobs").iterdir():
        assert path.stat().st_ino == (other / "blobs" / path.name).stat().st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("change", ["owner", "mode"])
def test_files_in_others_hands_are_copied(site: Site, other: Path, change: str) -> None:
    """A link shares owner and mode: their owner could write to a blob that was checked."""
    for path in (other / "blobs").iterdir():
        os.chown(path, 65534, 65534) if change == "owner" else path.chmod(0o664)
    before = picture(other)
    assert set(run(site).how()) == {"copied"}
    site.pull()
    assert site.same_as_served() and site.server.behaviour.requests == []
    assert picture(other) == before
    for path in (site.store / "blobs").iterdir():
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o644)
        assert status.st_ino != (other / "blobs" / path.name).stat().st_ino


def test_another_file_system_is_copied_from(site: Site, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(models_adopt.os, "link", refuse)
    assert set(run(site).how()) == {"copied"}
    site.pull()
    assert site.same_as_served() and site.server.behaviour.requests == []


def test_damaged_and_missing_blobs_are_downloaded(site: Site, other: Path) -> None:
    big, small = sorted((other / "blobs").iterdir(), key=lambda path: path.stat().st_size)[-1:-3:-1]
    big.write_bytes(big.read_bytes()[:-1] + b"?")
    small.unlink()
    lines = run(site)
    assert [values["path"] for event, values in lines.seen if event == "not adopted"] == [str(big)]
    site.pull()
    assert site.same_as_served()
    assert sorted(line.rpartition("sha256:")[2] for line in blobs_asked(site)) == sorted(
        path.name.removeprefix("sha256-") for path in (big, small)
    )


def test_blobs_are_known_when_only_the_manifest_has_moved(site: Site, other: Path) -> None:
    """The weights stay the same when a licence is added: what is needed is asked of the registry first."""
    shutil.rmtree(other / "manifests" / "registry.ollama.ai")
    assert run(site).how() == []
    settings = site.status_file.with_name("models.json")
    settings.write_text(json.dumps(site.settings))
    puller = PROGRAM.with_name("models_pull.py")
    for program, more in ((puller, ["--manifests"]), (PROGRAM, [])):
        done = subprocess.run([sys.executable, "-I", "-S", str(program), str(settings), *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    site.pull()
    assert site.same_as_served() and blobs_asked(site) == []


def test_links_and_pipes_in_another_store_lead_nowhere(site: Site, other: Path) -> None:
    for number, path in enumerate(sorted((other / "blobs").iterdir())):
        hidden = other / f"hidden-{number}"
        path.rename(hidden)
        path.symlink_to(hidden) if number % 2 else os.mkfifo(path)
    manifest = other / "manifests" / "registry.ollama.ai" / "library" / "a-pipe"
    os.mkfifo(manifest)
    assert run(site).how() == []
    site.pull()
    assert site.same_as_served()


def test_too_little_room_for_a_copy_is_no_end(site: Site, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (other / "blobs").iterdir():
        path.chmod(0o666)
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: 1000)
    settings = site.status_file.with_name("models.json")
    settings.write_text(json.dumps(site.settings))
    assert models_adopt.main([str(settings)]) == 0
    assert list((site.store / "blobs").iterdir()) == []


def test_where_stores_are_looked_for(other: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "home", tmp_path / "home" / ".ollama", other):
        assert list(stores(str(path))) == [str(other)]
    assert list(stores(str(tmp_path / "nowhere"))) == []
    assert list(stores("~nobody-of-that-name/.ollama")) == []


def test_our_own_store_is_no_other_one(site: Site) -> None:
    site.pull()
    site.settings["adopt"] = [str(site.store)]
    assert run(site).seen == []


def test_blob_that_is_still_being_written_is_downloaded_and_adopted_when_done(site: Site, other: Path) -> None:
    """Ollama writes to a file of another name; what others do is cut short, longer, or changes under the copy."""
    big, small = sorted((other / "blobs").iterdir(), key=lambda path: path.stat().st_size)[-1:-3:-1]
    data, rest = big.read_bytes(), small.read_bytes()
    big.rename(big.with_name(big.name + "-partial"))
    small.write_bytes(rest[:-1])
    run(site)
    there = {path.name for path in (site.store / "blobs").iterdir()}
    assert big.name not in there and small.name not in there and there
    big.with_name(big.name + "-partial").rename(big)
    small.write_bytes(rest)
    run(site)
    assert {path.name for path in (site.store / "blobs").iterdir()} == there | {big.name, small.name}
    site.pull()
    assert site.same_as_served() and blobs_asked(site) == [] and big.read_bytes() == data


def test_source_that_changes_while_it_is_copied_gives_no_blob(
    site: Site, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = max((other / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    for path in (other / "blobs").iterdir():
        path.chmod(0o666)  # copied, not linked
    fetch, right = models_adopt.fetch, big.read_bytes()

    def during(url: str, *rest: Any, **more: Any) -> str:
        if url.endswith(big.name):
            with big.open("r+b") as file:
                file.seek(len(right) // 2)
                file.write(b"somebody writes")
        return fetch(url, *rest, **more)

    monkeypatch.setattr(models_adopt, "fetch", during)
    lines = run(site)
    assert [values["path"] for event, values in lines.seen if event == "not adopted"] == [str(big)]
    assert not (site.store / "blobs" / big.name).exists()
    site.pull()
    assert site.same_as_served() and len(blobs_asked(site)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
@pytest.mark.parametrize("what", ["blobs", "manifests", "store"])
def test_source_that_cannot_be_read_is_no_obstacle(what: str, site: Site, other: Path, tmp_path: Path) -> None:
    """As root on a network's file system, where root is nobody."""
    # The tests' own folders alone: no other one of this computer is opened for that.
    for path in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(path) or path.is_relative_to(tmp_path.parent):
            path.chmod(path.stat().st_mode | 0o011)
    for path in [site.store, *site.store.rglob("*")]:
        os.chown(path, 65534, 65534)
    where = {"blobs": other / "blobs", "manifests": other / "manifests", "store": other}[what]
    where.chmod(0o000)
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    settings.chmod(0o644)
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and list((site.store / "blobs").iterdir()) == []
    where.chmod(0o755)
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=[])
    assert '"how": "copied"' in done.stdout, done.stdout + done.stderr
