"""What `up` does before and after the machine is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.apply.result import Result
from holdfast.cli import hosts, parser, remote, summary, up
from holdfast.cli.main import build
from holdfast.errors import HoldfastError
from holdfast.lab import state
from holdfast.progress import Quiet
from holdfast.settings.loader import resolve, site

BASE = {"profile": "cpu", "login_user": "ada"}


@pytest.mark.parametrize(
    ("words", "said"),
    [("nosuch=my.gguf", "no such role"), ("coder=text.gguf", "is no GGUF file"), ("coder=none", "no file")],
)
def test_a_model_that_cannot_be_served_is_refused_first(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_CWD", str(tmp_path))
    (tmp_path / "my.gguf").write_bytes(b"GGUF....")
    (tmp_path / "text.gguf").write_bytes(b"text")
    assert up.model_files(["coder=my.gguf"]) == {"coder": tmp_path / "my.gguf"}
    with pytest.raises(HoldfastError, match=said) as told:
        up.model_files([words])
    assert told.value.code == 2 and told.value.fix


def test_two_runs_at_once_do_not_share_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hold = "p = up.log_of('up', 'box'); p.write_text('first'); print(p, flush=True); sys.stdin.read()"
    hold = f"import sys; from holdfast.cli import up; {hold}"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = up.log_of("up", "box")
        assert ours != theirs
        assert theirs.read_text() == "first"
        other.communicate("")
    assert up.log_of("up", "box") == theirs, "free again, and begun anew"
    assert theirs.read_bytes() == b""


def test_an_ssh_config_that_knows_the_hosts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ws = resolve(site("box", {**BASE, "ssh": {"hostname": "192.0.2.7", "user": "ada", "port": 2222}}, "hosts.yml"))
    file = remote.config_file(ws)
    assert file is not None
    told = subprocess.run(["ssh", "-G", "-F", file, "box"], capture_output=True, text=True, check=True).stdout
    for line in ("hostname 192.0.2.7", "user ada", "port 2222"):
        assert line in told.splitlines()
    assert remote.config_file(resolve(site("box", {**BASE, "local": True}, "hosts.yml"))) is None


class Said(Quiet):
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`up` without a machine: what the checks were told to expect."""
    told: dict[str, Any] = {}
    ws = resolve(site("box", BASE, "hosts.yml"))
    monkeypatch.setattr(up.hosts, "chosen", lambda name: name)
    monkeypatch.setattr(up.hosts, "settings", lambda name: ws)
    monkeypatch.setattr(up, "groups", lambda: None)
    monkeypatch.setattr(up, "Asker", lambda progress: SimpleNamespace(given=""))
    monkeypatch.setattr(up.runner, "apply", lambda *words, **more: Result(operations=1))
    monkeypatch.setattr(up.summary, "look", lambda ws: {})
    monkeypatch.setattr(up.verify, "check", lambda ws, progress, **more: told.update(more))
    monkeypatch.setattr(up, "finished", lambda *words: None)
    monkeypatch.setattr(up, "log_of", lambda verb, name: Path("log"))
    return told


ARGS = {"values": [], "reboot": None, "models": [], "release": None, "vm": False, "no_verify": False}


@pytest.mark.parametrize(
    ("host", "says"), [(None, {"coder": "I am the coder"}), (hosts.LAB, {"coder": "I am the coder"}), ("box", {})]
)
def test_the_throw_away_machines_models_are_known_by_their_sentences_also_by_its_name(
    host: str | None, says: dict[str, str], steps: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = SimpleNamespace(name=hosts.LAB, models={"coder": "I am the coder"})
    monkeypatch.setattr(state, "running", lambda: [lab])
    monkeypatch.setattr(up, "lab_up", lambda args, progress: lab)
    monkeypatch.setattr(up, "has_nvidia", lambda: False)
    up.run(SimpleNamespace(host=host, **ARGS), Said())  # type: ignore[arg-type]
    assert steps["expect"] == says


def test_packages_that_come_from_apt_are_not_denied(
    steps: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "has_nvidia", lambda: True)
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "none.yml"))
    monkeypatch.setattr(up, "lab_up", lambda args, progress: SimpleNamespace(name=hosts.LAB, models={}))
    progress = Said()
    up.run(SimpleNamespace(host=None, **ARGS), progress)  # type: ignore[arg-type]
    promise = next(note for note in progress.notes if "is changed" in note)
    down = next(line for line in parser.ABOUT.splitlines() if "./holdfast down" in line)
    assert "apt" in promise and "apt" in down


@pytest.mark.parametrize(("name", "refused"), [("ollama", True), ("tailscale", False)])
def test_only_an_ollama_that_was_built_here_is_said_to_be_refused(name: str, refused: bool) -> None:
    ws = resolve(site("box", {**BASE, "instances": {}}, "hosts.yml"))
    seen: dict[str, Any] = {"instances": {role: {"seconds": 0.1} for role in ws.instances}, "tailnet": {}}
    data = summary.data(ws, None, Result(operations=1), seen, None, {})
    data["built_here"] = [{"name": name, "version": "1.2", "sha256": ""}]
    line = next(line for line in summary.lines(ws, data, Result(operations=1), seen, None) if "built here" in str(line))
    assert f"{name} 1.2" in line
    assert ("refused on a machine with a GPU" in line) == refused


class Begun(Exception):
    """A throw-away machine would be made now."""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A computer without hosts.yml and without a lab; the notes of `up`, which ends when it begins to make one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.delenv("HOLDFAST_SET", raising=False)

    def begins(*_: Any) -> None:
        raise Begun

    monkeypatch.setattr(up, "lab_up", begins)
    return []


def bare_up(notes: list[str], *words: str) -> None:
    class Notes(Quiet):
        def note(self, text: str) -> None:
            notes.append(text)

    up.run(build("up").parse_args(["up", *words]), Notes())  # type: ignore[arg-type]


def test_a_wrong_value_is_told_before_anything_of_a_throw_away_machine_is_made(bare: list[str]) -> None:
    with pytest.raises(HoldfastError, match="contxt") as told:
        bare_up(bare, "--set", "instances.coder.contxt=1")
    assert told.value.code == 2 and "context" in told.value.fix
    with pytest.raises(Begun):
        bare_up(bare, "--set", "instances.coder.context=8192")


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_computer_with_a_gpu_is_told_what_a_bare_up_makes(
    has_gpu: bool, bare: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "has_nvidia", lambda: has_gpu)
    with pytest.raises(Begun):
        bare_up(bare)
    said = " ".join(bare)
    assert ("./holdfast init @local" in said and "throw-away machine" in said) == has_gpu, said
    bare.clear()
    (tmp_path / "hosts.yml").write_text("{}")
    with pytest.raises(Begun):
        bare_up(bare)
    assert bare == [], "who has a hosts.yml knows"
