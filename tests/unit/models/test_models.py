"""Pins, settings and unit of the model puller, what its facts see, and when an apply stops waiting."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import needs

from holdfast.components.models import files, pins
from holdfast.components.models.facts import missing, read_store, telling
from holdfast.components.models.operations import verdict
from holdfast.errors import HoldfastError
from holdfast.lab.models import make, registry
from holdfast.settings import Workstation
from holdfast.settings.loader import resolve
from holdfast_onhost import fetch_progress, models_store
from holdfast_onhost.fetch import Manner
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status

CODER, REASONER = "qwen2.5-coder:32b", "deepseek-r1:70b"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def workstation(depot: str = "", **models: Any) -> Workstation:
    gpus = {"left": "01:00.0", "right": "21:00.0"}
    site = {"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": gpus, "depot": depot, "models": models}
    return resolve(site)


def test_committed_lock_claims_nothing_and_an_apply_stops_there() -> None:
    assert {CODER, REASONER} <= pins.lock().keys()
    with pytest.raises(HoldfastError) as caught:
        pins.pinned(workstation())
    assert CODER in caught.value.message
    assert "unverified" in caught.value.message
    assert caught.value.fix.startswith(f"./holdfast depot update {CODER}")


def test_every_model_without_a_digest_is_named_in_one_error() -> None:
    found, problem = pins.digests(workstation(pins={}), {CODER: pins.Model(CODER, "", (), "MIT")})
    assert problem is not None
    assert found == {CODER: pins.UNVERIFIED, REASONER: pins.UNVERIFIED}
    assert f"{CODER} (unverified), {REASONER} (in no lock)" in problem.message
    assert f"depot update {CODER} {REASONER}" in problem.fix


def test_pins_of_the_site_come_first() -> None:
    known = {name: pins.Model(name, ONE, (), "MIT") for name in (CODER, REASONER)}
    assert pins.pinned(workstation(), known) == {CODER: ONE, REASONER: ONE}
    assert pins.pinned(workstation(pins={CODER: TWO}), known) == {CODER: TWO, REASONER: ONE}
    with pytest.raises(HoldfastError, match="in no lock"):
        pins.pinned(workstation(), {})


def test_every_model_of_a_profile_is_in_the_lock() -> None:
    from holdfast.settings.loader import profiles

    named = {i["model"] for profile in profiles().values() for i in profile.get("instances", {}).values()}
    assert named
    assert named <= pins.lock().keys()


@pytest.mark.parametrize(
    "text", ["", "[]", "x: {}", "x: {manifest: sha256:12, capabilities: [], licence: MIT}", ":\n\t:"]
)
def test_lock_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.yml").write_text(text)
    with pytest.raises(HoldfastError, match=r"lock|manifest"):
        pins.lock(tmp_path / "models.yml")


def test_update_writes_the_digest_of_the_bytes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pins, "MANNER", Manner(tries=3, pause=0.001))
    served = make(tmp_path / "served")
    copy = tmp_path / "models.yml"
    copy.write_text(pins.LOCK.read_text())
    with registry.serving(tmp_path / "served") as server:
        server.behaviour.manifest_statuses = [429, 503]  # asked again
        assert pins.update(REASONER, server.url, "any", copy) == served[REASONER]
        with pytest.raises(HoldfastError, match="not in the lock"):
            pins.update("other:1b", server.url, "any", copy)
        assert pins.look_up(REASONER, server.url, "any") == served[REASONER]
        with pytest.raises(HoldfastError, match="HTTP 404"):
            pins.update("deepseek-r1:32b", server.url, "any", copy)
        server.behaviour.manifest_statuses = [412]
        with pytest.raises(HoldfastError, match=r"newer Ollama than 0\.1") as caught:
            pins.update(REASONER, server.url, "ollama/0.1 (amd64 linux)", copy)
        assert "artifacts.ollama.version" in caught.value.fix
    before, after = pins.LOCK.read_text().splitlines(), copy.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("  manifest: unverified", f"  manifest: {served[REASONER]}")]
    assert pins.lock(copy)[REASONER].manifest == served[REASONER]


def test_where_models_come_from_and_what_is_adopted() -> None:
    assert files.source(workstation()) == "https://registry.ollama.ai"
    assert files.source(workstation(registry="http://nas.lan:5000")) == "http://nas.lan:5000"
    ws = workstation(registry="depot", adopt=["/mnt/old/ollama", "~/models"], depot="/mnt/100%/depot")
    assert files.source(ws) == "file:///mnt/100%25/depot/models/"
    assert files.adopted(workstation(store="/mnt/models"))[0] == "/var/lib/holdfast/models"
    assert files.adopted(ws) == ["/mnt/old/ollama", "~ada/models", "/usr/share/ollama", "~ada", "~root"]
    unit = files.unit(ws, "{}")
    assert "RequiresMountsFor=/var/lib/holdfast/models /mnt/100%%/depot\n" in unit
    assert "PrivateNetwork=yes" in unit and "ProtectHome=yes" not in unit
    assert "PrivateNetwork" not in files.unit(workstation(), "{}")
    assert files.source(workstation(registry="depot", depot="http://nas.lan/depot")) == "http://nas.lan/depot/models/"
    with pytest.raises(HoldfastError, match="needs a depot"):
        workstation(registry="depot")


@pytest.mark.parametrize("path", ["models", "/", "/mnt/../etc", "/home/ada/models", "/tmp/x", "/mnt/a b", "/mnt/%h", "//"])
def test_stores_that_are_refused(path: str) -> None:
    with pytest.raises(HoldfastError, match=r"models\.store"):
        workstation(store=path)


def test_store_is_where_the_settings_say() -> None:
    ws = workstation(store="/mnt/models/")
    assert json.loads(files.settings(ws, {}))["store"] == "/mnt/models"
    assert "ReadWritePaths=/mnt/models\n" in files.unit(ws, "{}")
    assert [entry.path for entry in files.folders(ws)] == ["/mnt/models", "/mnt/models/blobs", "/mnt/models/manifests"]


def test_settings_of_the_puller() -> None:
    ws = workstation(registry="http://nas.lan:5000", limit_mib_s=2.0)
    text = files.settings(ws, {CODER: ONE})
    value = json.loads(text)
    assert value["source"] == "http://nas.lan:5000"
    assert value["limit"] == 2 * 1024 * 1024
    assert value["user_agent"].startswith("ollama/0.")
    assert value["models"] == [{"name": CODER, "manifest": ONE}]
    assert f"HOLDFAST_CONFIG={files.config(text)}\n" in files.unit(ws, text)
    assert "\nEnvironmentFile=-/etc/environment\n" in files.unit(ws, text), "where a machine has its proxy"
    assert files.config(text) != files.config(files.settings(ws, {CODER: TWO}))


@needs("systemd-analyze")
@pytest.mark.parametrize("own", [{}, {"registry": "depot", "depot": "/mnt/usb"}], ids=["registry", "depot"])
def test_systemd_understands_the_unit(tmp_path: Path, own: dict[str, Any]) -> None:
    path = tmp_path / files.UNIT
    text = files.unit(workstation(**own), "{}")

    def verify() -> str:
        command = ["systemd-analyze", "verify", "--man=no", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    path.write_text(text)
    assert files.UNIT not in verify()
    path.write_text(text.replace("Nice=10", "Nice=very"))
    assert files.UNIT in verify()


def settings_of(store: Path, served: dict[str, str]) -> dict[str, Any]:
    models = [{"name": name, "manifest": digest} for name, digest in served.items()]
    return {"store": str(store), "user_agent": "x", "models": models}


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    served = make(tmp_path / "served")
    store = tmp_path / "store"
    models_store.make(str(store))
    with registry.serving(tmp_path / "served") as server:
        pull({**settings_of(store, served), "source": server.url}, Status(str(tmp_path / "status.json"), fetch_progress.silent))
    return store, served


def test_fact_tells_present_moved_incomplete_absent_and_undeclared(stored: tuple[Path, dict[str, str]]) -> None:
    store, served = stored

    def states(models: dict[str, str]) -> dict[str, str]:
        found = read_store(str(store), models, str(store.parent / "status.json"), "no-such.service")
        return {name: value["state"] for name, value in found["models"].items()}

    assert states(served) == {CODER: "present", REASONER: "present"}
    assert states({CODER: ONE, "other/one:x": TWO}) == {CODER: "moved", "other/one:x": "absent"}
    found = read_store(str(store), {CODER: served[CODER]}, str(store.parent / "status.json"), "no-such.service")
    assert found["undeclared"] == [REASONER]
    assert found["pull"]["bytes"] == found["pull"]["total"] > 0
    assert found["free"] > 0
    biggest = max((store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    biggest.rename(store / "elsewhere")
    assert sorted(states(served).values()) == ["incomplete", "present"]


def test_fact_tells_what_was_never_hashed_and_what_belongs_to_no_model(stored: tuple[Path, dict[str, str]]) -> None:
    """Blobs that somebody else put there are not taken on trust; the puller hashes them, once."""
    store, served = stored

    def read() -> Any:
        return read_store(str(store), served, str(store.parent / "status.json"), "no-such.service")

    assert read()["orphans"] == 0
    (store / "blobs" / ("sha256-" + "1" * 64)).write_bytes(b"12345")
    assert read()["orphans"] == 5
    part = store / ".fetch" / ("2" * 64)
    part.write_bytes(b"1234567")
    assert read()["orphans"] == 12, "a download that nobody finishes"
    blob = next((store / "blobs").glob("sha256-[!1]*"))
    blob.rename(store / "away")
    assert read()["orphans"] == 5, "while a model is missing it may be of that one"
    (store / "away").rename(blob)
    part.unlink()
    puller = Status(str(store.parent / "status.json"), fetch_progress.silent)
    pull({**settings_of(store, served), "source": "http://127.0.0.1:9"}, puller)  # the rename has changed the ctime
    biggest = max((store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    biggest.touch()
    assert sorted(value["state"] for value in read()["models"].values()) == ["present", "unchecked"]
    assert len(missing(read(), served)) == 1
    (store / ".fetch" / "checked.json").unlink()
    assert {value["state"] for value in read()["models"].values()} == {"unchecked"}


def test_bare_machine_reads_as_missing(tmp_path: Path) -> None:
    found = read_store(str(tmp_path / "none"), {CODER: ONE}, str(tmp_path / "none"), "no-such.service")
    assert missing(found, {CODER: ONE}) == [CODER]
    assert missing(None, {CODER: ONE}) == [CODER]
    assert missing({"models": {CODER: {"state": "present"}}}, {CODER: ONE}) == []


FAILED = "start\nerror: x: the registry now serves y\nFix: ./holdfast depot update x\nholdfast-models: failed\n"


def test_waiting_ends_with_the_pullers_own_words() -> None:
    running = {"active": "active", "journal": FAILED}
    assert verdict(running, [CODER], 5, 60, "u") is None
    failed = verdict({"active": "failed", "journal": FAILED}, [CODER], 5, 60, "u")
    assert failed
    assert "the registry now serves y" in failed.message
    assert failed.fix == "./holdfast depot update x"
    assert verdict({"active": "failed", "journal": FAILED}, [CODER], 0.5, 60, "u") is None  # it may be starting
    stuck = verdict({"active": "activating", "journal": "one\ntwo"}, [CODER], 61, 60, "u")
    assert stuck
    assert "no new byte, or too few, in 61 s" in stuck.message
    assert "journalctl -u u" in stuck.fix


def test_the_pullers_status_comes_before_its_journal() -> None:
    """The journal may hold another run's words last, or, on a machine that keeps none, nothing."""
    pull = {"state": "failed", "error": "no room", "fix": "make some"}
    for journal in ("", FAILED):
        failed = verdict({"active": "failed", "pull": pull, "journal": journal}, [CODER], 5, 60, "u")
        assert failed
        assert failed.message.endswith("\n  no room") and failed.fix == "make some"
    running = verdict(
        {"active": "failed", "pull": {"state": "running", "bytes": 1}, "journal": FAILED}, [CODER], 5, 60, "u"
    )
    assert running
    assert "the registry now serves y" in running.message


def test_telling_lines_of_a_journal() -> None:
    assert telling({}, FAILED) == ["error: x: the registry now serves y", "Fix: ./holdfast depot update x"]
    assert telling({}, "a\nb\n\nc") == ["c"]
    assert telling({}, '{"event": "retry", "url": "http://x", "reason": "refused"}') == ["http://x: refused"]
    assert telling({}, "") == []


@pytest.mark.parametrize("name", ["hf.co/org/m:q4", "nas.lan:5000/org/m:q4"])
def test_a_model_is_not_asked_of_another_registry_than_it_names(name: str) -> None:
    """Every model comes from models.registry."""
    with pytest.raises(HoldfastError) as caught:
        workstation(pins={name: ONE})
    assert "is a registry: write 'org/m:q4', and set models.registry" in caught.value.render()
    assert workstation(pins={"org/m:q4": ONE}, registry="https://hf.co").models.pins == {"org/m:q4": ONE}
