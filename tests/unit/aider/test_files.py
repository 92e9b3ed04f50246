"""Aider's settings, from the workstation's: one context number, nothing unasked, nothing called."""

from __future__ import annotations

import json
from typing import Any

import yaml

from holdfast.components.aider import files
from holdfast.operations.place import File
from holdfast.settings import Workstation


def workstation(**changes: Any) -> Workstation:
    instances = {
        "coder": {"model": "qwen2.5-coder:32b", "port": 11434, "context": 12288},
        "reasoner": {"model": "deepseek-r1:70b", "port": 11435, "context": 8192},
    }
    data: dict[str, Any] = {
        "name": "box",
        "profile": "cpu",
        "login_user": "ada",
        "require_gpu": False,
        "instances": instances,
    }
    return Workstation.model_validate({**data, **changes})


def written(ws: Workstation) -> dict[str, str]:
    found = [e for e in files.entries(ws) if isinstance(e, File)]
    return {e.path: e.content for e in found if isinstance(e.content, str)}


def test_context_is_the_servers_own_number_everywhere() -> None:
    texts = written(workstation())
    settings = {m["name"]: m["extra_params"] for m in yaml.safe_load(texts["/etc/holdfast/aider/model-settings.yml"])}
    limits = json.loads(texts["/etc/holdfast/aider/model-metadata.json"])
    for name, port, context in (
        ("ollama_chat/qwen2.5-coder:32b", 11434, 12288),
        ("ollama_chat/deepseek-r1:70b", 11435, 8192),
    ):
        assert settings[name] == {"api_base": f"http://127.0.0.1:{port}", "num_ctx": context}
        assert limits[name]["max_input_tokens"] == context
        assert limits[name]["max_output_tokens"] < context


def test_the_reasoner_plans_the_coder_edits_a_human_is_asked() -> None:
    conf = yaml.safe_load(written(workstation())["/etc/holdfast/aider/aider.conf.yml"])
    assert (conf["model"], conf["editor-model"]) == ("ollama_chat/deepseek-r1:70b", "ollama_chat/qwen2.5-coder:32b")
    assert conf["weak-model"] == conf["editor-model"], "a summary does not wake the reasoner"
    assert (conf["architect"], conf["auto-accept-architect"]) == (True, False)
    for key in ("analytics", "check-update", "auto-commits", "dirty-commits", "suggest-shell-commands", "detect-urls",
                "auto-lint", "auto-test", "gitignore", "watch-files"):  # fmt: skip
        assert conf[key] is False
    one_question = written(workstation(aider={"ask_before_coding": False}))["/etc/holdfast/aider/aider.conf.yml"]
    assert yaml.safe_load(one_question)["auto-accept-architect"] is True


def test_editor_format_follows_the_option() -> None:
    texts = written(workstation(aider={"editor_edit_format": "editor-whole"}))
    assert yaml.safe_load(texts["/etc/holdfast/aider/aider.conf.yml"])["editor-edit-format"] == "editor-whole"
    coder = yaml.safe_load(texts["/etc/holdfast/aider/model-settings.yml"])[1]
    assert (coder["edit_format"], coder["editor_edit_format"]) == ("whole", "editor-whole")


def test_one_instance_in_both_roles() -> None:
    texts = written(workstation(aider={"architect": "coder"}))
    names = [m["name"] for m in yaml.safe_load(texts["/etc/holdfast/aider/model-settings.yml"])]
    assert names == ["ollama_chat/qwen2.5-coder:32b"]


def test_programs_are_python() -> None:
    texts = written(workstation())
    for path in ("/usr/local/bin/aider", "/opt/aider/launch.py"):
        compile(texts[path], path, "exec")
    assert "0.86.2" in texts["/opt/aider/launch.py"]
