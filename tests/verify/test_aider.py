"""Aider: installed as locked, wired to the models here, and unable to act unless a person says yes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.verify.locks import LOCKS, locked
from tests.verify.machine import Machine, Shape

ETC = "/etc/holdfast/aider"


@pytest.fixture(scope="module")
def tried(machine: Machine, shape: Shape) -> dict[str, Any]:
    return machine.look("aider", user=shape.login_user)


@pytest.fixture(scope="module")
def written(machine: Machine) -> dict[str, Any]:
    """Aider's settings as they lie on the machine: conf, models, metadata, environment."""
    mark = "==== next file"
    text = machine.sh(
        f"cd {ETC} && for f in aider.conf.yml model-settings.yml model-metadata.json aider.env; do cat $f; echo '{mark}'; done"
    ).stdout
    parts = text.split(mark + "\n")
    assert len(parts) == 5, f"settings are missing in {ETC}"
    conf, models, metadata, env, _ = parts
    return {
        "conf": yaml.safe_load(conf), "models": yaml.safe_load(models), "metadata": yaml.safe_load(metadata),
        "env": dict(line.split("=", 1) for line in env.splitlines() if "=" in line and not line.startswith("#")),
    }  # fmt: skip


def test_version_is_as_pinned(tried: dict[str, Any]) -> None:
    assert tried["version"]["out"].split()[-1:] == [locked("aider", "aider-chat")], tried["version"]


def test_environment_is_the_locked_one(machine: Machine) -> None:
    found = machine.sh("sha256sum /opt/aider/current/requirements.txt").stdout.split()
    assert found[:1] == [hashlib.sha256((LOCKS / "python" / "aider.txt").read_bytes()).hexdigest()]


def test_wrapper_and_settings_are_roots(files: Callable[..., dict[str, Any]]) -> None:
    names = ("aider.conf.yml", "model-settings.yml", "model-metadata.json", "aider.env")
    found = files("/usr/local/bin/aider", *(f"{ETC}/{name}" for name in names))
    modes = {path: (e["kind"], e["mode"], e["user"], e["group"]) if e else None for path, e in found.items()}
    wanted = {f"{ETC}/{name}": ("file", "0644", "root", "root") for name in names}
    assert modes == {"/usr/local/bin/aider": ("file", "0755", "root", "root"), **wanted}


@pytest.mark.promise("AI proposes, a person decides: Aider changes nothing when nobody is there to be asked")
def test_it_refuses_to_run_without_a_person(tried: dict[str, Any]) -> None:
    # The positive control: without a terminal, too, it can be started where no question can come.
    assert tried["version"]["status"] == 0, tried["version"]
    assert tried["unattended"]["status"] == 2, tried["unattended"]
    assert "no terminal" in tried["unattended"]["err"]
    assert tried["left"] == [".git"], f"it left something in the repository: {tried['left']}"


@pytest.mark.promise("A repository you open cannot steer Aider")
def test_it_refuses_a_repository_that_steers_it(tried: dict[str, Any]) -> None:
    assert tried["version"]["status"] == 0, f"it refuses a plain one, too: {tried['version']}"
    assert tried["steered"]["status"] == 2, tried["steered"]
    assert ".aider.conf.yml" in tried["steered"]["err"]


def test_it_asks_before_it_acts(written: dict[str, Any]) -> None:
    promised = {
        "auto-accept-architect": False, "architect": True, "auto-commits": False, "dirty-commits": False, "auto-lint": False,
        "auto-test": False, "suggest-shell-commands": False, "watch-files": False, "analytics": False, "check-update": False,
        "detect-urls": False, "disable-playwright": True,
    }  # fmt: skip
    assert {key: written["conf"].get(key) for key in promised} == promised


@pytest.mark.promise("Aider is set up to send your code to the models on this machine and nowhere else")
def test_it_talks_to_this_machine_only(written: dict[str, Any], shape: Shape) -> None:
    ours = {f"http://127.0.0.1:{i.port}": f"ollama_chat/{i.model}" for i in shape.instances.values()}
    for model in written["models"]:
        assert ours.get(model["extra_params"]["api_base"]) == model["name"], model
    named = {written["conf"][key] for key in ("model", "editor-model", "weak-model")}
    assert named <= {m["name"] for m in written["models"]} <= set(written["metadata"]), written["conf"]
    assert written["env"]["OLLAMA_API_BASE"] in ours
    assert written["env"]["NO_PROXY"] == "*"


def test_context_is_the_servers(written: dict[str, Any], shape: Shape) -> None:
    """Another number than the server's makes Ollama load the model anew at each change of hands."""
    context = {f"ollama_chat/{i.model}": i.context for i in shape.instances.values()}
    for model in written["models"]:
        assert model["extra_params"]["num_ctx"] == context[model["name"]], model
    for name, known in written["metadata"].items():
        assert known["max_input_tokens"] == context[name], name
