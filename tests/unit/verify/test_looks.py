"""The readers that run on the machine, run here: each finds what is made for it, and leaves out what is not there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.paths import ROOT

sys.path.insert(0, str(ROOT))

from tests.verify.machine import Listeners, assert_confined, assert_on_cards
from tests.verify.serve import targets

LOOK = ROOT / "tests" / "verify" / "look"


def look(name: str, **given: Any) -> Any:
    done = subprocess.run([sys.executable, "-I", LOOK / f"{name}.py", json.dumps(given)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_files_tells_kinds_modes_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "link").symlink_to("secret")
    found = look("files", paths=[str(tmp_path), str(tmp_path / "none")], hashes=True, below=True)
    assert found[str(tmp_path / "secret")]["mode"] == "0600"
    assert found[str(tmp_path / "secret")]["sha256"].startswith("2d711642")
    assert found[str(tmp_path / "link")]["kind"] == "link"
    assert found[str(tmp_path / "none")] is None


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listeners_finds_tcp_and_its_program(family: int, address: str) -> None:
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this computer has no {address}")
    with server:
        found = look("listeners")
        port = server.getsockname()[1]
        mine = [e for e in found["listeners"] if (e["address"], e["port"], e["protocol"]) == (address, port, "tcp")]
    assert len(mine) == 1
    assert mine[0]["program"]
    # The one that it makes for itself, too.
    assert found["planted"] in [[e["address"], e["port"]] for e in found["listeners"]]


def test_listeners_finds_udp_and_leaves_connections_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talking:
        waiting.bind(("127.0.0.1", 0))
        talking.connect(waiting.getsockname())
        found = {(e["protocol"], e["port"]) for e in look("listeners")["listeners"]}
        assert ("udp", waiting.getsockname()[1]) in found
        assert ("udp", talking.getsockname()[1]) not in found


def test_listeners_of_one_unit() -> None:
    entry = {"protocol": "tcp", "address": "127.0.0.1", "port": 1, "unit": "a.service", "program": "a"}
    found = Listeners([entry, {**entry, "unit": "b.service", "port": 2}, {**entry, "protocol": "udp", "port": 3}])
    assert found.of("a.service") == {"127.0.0.1:1"}
    assert found.of("a.service", "udp") == {"127.0.0.1:3"}


def confined(**inside: str) -> dict[str, Any]:
    return {"outside": {"loopback": "open", "control": "open"}, "units": {"u": {"reach": {"loopback": "open", **inside}}}}


def test_confinement_holds_and_breaks() -> None:
    assert_confined(confined(control="timeout"), ["u"])
    with pytest.raises(AssertionError, match="reaches"):
        assert_confined(confined(control="open"), ["u"])


def test_confinement_is_not_believed_without_a_control() -> None:
    blind = confined(control="timeout")
    blind["outside"]["control"] = "timeout"
    with pytest.raises(AssertionError, match="proves nothing"):
        assert_confined(blind, ["u"])
    alone = {"outside": {"loopback": "open"}, "units": {"u": {"reach": {"loopback": "open"}}}}
    with pytest.raises(AssertionError, match="nothing but loopback"):
        assert_confined(alone, ["u"])
    broken = confined(control="timeout")
    broken["units"]["u"]["reach"]["loopback"] = "EPERM"
    with pytest.raises(AssertionError, match="is broken"):
        assert_confined(broken, ["u"])


def test_targets_of_a_serve_configuration() -> None:
    one = {"TCP": {"80": {"HTTP": True}}, "Web": {"ws:80": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}}}
    assert targets(one) == ["ws:80/ -> http://127.0.0.1:8080"]
    more = {**one, "TCP": {**one["TCP"], "5": {"TCPForward": "127.0.0.1:11434"}}, "Foreground": {"s": one}}
    assert len(targets(more)) == 3
    assert targets({}) == []
    # A folder or a text can be served, too; both are shown.
    assert "Path" in targets({"Web": {"ws:80": {"Handlers": {"/": {"Path": "/home"}}}}})[0]


def test_secret_values_of_an_environment_stay_on_the_machine() -> None:
    source = (LOOK / "units.py").read_text("utf-8").rpartition("\nprint(")[0]
    scope: dict[str, Any] = {}
    exec(source, scope)
    child = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"WEBUI_SECRET_KEY": "hidden-value", "PORT": "1", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        child.stdout.readline()
        found = scope["environment"](child.pid)
    finally:
        child.communicate(b"\n")
    assert found["WEBUI_SECRET_KEY"] == "(set)"
    assert found["PORT"] == "1"


def test_nvidia_reads_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho '00000000:01:00.0, GPU-1d0c, 580.95.05, 24576'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = look("nvidia")
    assert found["smi"][0]["address"] == "0000:01:00.0"
    assert found["smi"][0]["driver_version"] == "580.95.05"
    assert not found["problem"]


def test_nvidia_says_why_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = look("nvidia")
    assert found["smi"] == []
    assert "nvidia-smi" in found["problem"]


def test_a_model_that_is_not_loaded_is_on_no_card() -> None:
    loaded = [{"name": "m:1", "size": 5, "size_vram": 5}]
    assert_on_cards("coder", "m:1", loaded)
    for wrong, says in (([{**loaded[0], "size_vram": 4}], "partly on the processor"), ([], r"coder holds \[\]")):
        with pytest.raises(AssertionError, match=says):
            assert_on_cards("coder", "m:1", wrong)


def test_authorities_of_ours_are_found_by_their_name_and_told_by_what_they_are(tmp_path: Path) -> None:
    text = next(p for p in sorted(Path("/etc/ssl/certs").glob("*.pem")) if p.is_file()).read_text()
    for name in ("holdfast-a.crt", "holdfast-b.pem", "other.crt"):
        (tmp_path / name).write_text(text)
    (tmp_path / "holdfast-damaged.crt").write_text("-----BEGIN CERTIFICATE-----\nAA\n")
    (tmp_path / "holdfast-gone.pem").symlink_to("nowhere")
    found = {Path(path).name: value for path, value in look("authorities", folders=[str(tmp_path), "/no/folder"]).items()}
    assert set(found) == {"holdfast-a.crt", "holdfast-b.pem", "holdfast-damaged.crt", "holdfast-gone.pem"}
    assert len(found["holdfast-a.crt"]) == 64 and found["holdfast-a.crt"] == found["holdfast-b.pem"]
    assert found["holdfast-damaged.crt"] == found["holdfast-gone.pem"] == ""
