"""Open WebUI's environment and unit, from settings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.components.open_webui import files
from holdfast.settings import Workstation

OFF = [
    "ENABLE_PERSISTENT_CONFIG",
    "ENABLE_SIGNUP",
    "ENABLE_API_KEYS",
    "ENABLE_OAUTH",
    "ENABLE_ADMIN_CHAT_ACCESS",
    "ENABLE_ADMIN_EXPORT",
    "ENABLE_OPENAI_API",
    "ENABLE_DIRECT_CONNECTIONS",
    "ENABLE_DIRECT_INTEGRATIONS",
    "ENABLE_EVALUATION_ARENA_MODELS",
    "ENABLE_VERSION_UPDATE_CHECK",
    "ENABLE_PIP_INSTALL_FRONTMATTER_REQUIREMENTS",
    "ANONYMIZED_TELEMETRY",
    "ENABLE_WEB_SEARCH",
    "ENABLE_GOOGLE_DRIVE_INTEGRATION",
    "ENABLE_ONEDRIVE_INTEGRATION",
    "ENABLE_TITLE_GENERATION",
    "ENABLE_TAGS_GENERATION",
    "ENABLE_FOLLOW_UP_GENERATION",
    "ENABLE_AUTOCOMPLETE_GENERATION",
    "ENABLE_SEARCH_QUERY_GENERATION",
    "ENABLE_RETRIEVAL_QUERY_GENERATION",
    "ENABLE_AUTOMATIONS",
    "ENABLE_CALENDAR",
    "ENABLE_SUBAGENTS",
    "ENABLE_MEMORIES",
    "ENABLE_MEMORY_BACKGROUND_REVIEW",
    "ENABLE_PLUGINS",
    "ENABLE_CODE_EXECUTION",
    "ENABLE_CODE_INTERPRETER",
    "ENABLE_USER_WEBHOOKS",
    "ENABLE_CHANNELS",
    "ENABLE_NOTES",
    "ENABLE_APPS",
    "ENABLE_IMAGE_GENERATION",
    "ENABLE_IMAGE_PROMPT_GENERATION",
    "ENABLE_COMMUNITY_SHARING",
    "ENABLE_MESSAGE_RATING",
    "USER_PERMISSIONS_CHAT_WEB_UPLOAD",
    "USER_PERMISSIONS_CHAT_STT",
    "USER_PERMISSIONS_CHAT_TTS",
    "USER_PERMISSIONS_CHAT_CALL",
]
ON = [
    "WEBUI_AUTH",
    "OFFLINE_MODE",
    "BYPASS_EMBEDDING_AND_RETRIEVAL",
    "BYPASS_MODEL_ACCESS_CONTROL",
]
# Each of these makes Open WebUI call out or let somebody in; none may be set at all.
NEVER = [
    "LICENSE_KEY",
    "CUSTOM_NAME",
    "WEBHOOK_URL",
    "WEBUI_AUTH_TRUSTED_EMAIL_HEADER",
    "OPENAI_API_KEY",
    "WEBUI_SECRET_KEY",
]


def parsed(ws: Workstation) -> dict[str, str]:
    lines = [line for line in files.environment(ws).splitlines() if line and not line.startswith("#")]
    pairs = [line.partition("=") for line in lines]
    names = [name for name, _, _ in pairs]
    assert len(names) == len(set(names)), "a variable is set twice"
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def test_all_that_acts_or_calls_out_is_off(workstation: Callable[..., Workstation]) -> None:
    env = parsed(workstation())
    assert {name: env.get(name) for name in OFF} == dict.fromkeys(OFF, "false")
    assert {name: env.get(name) for name in ON} == dict.fromkeys(ON, "true")
    assert not set(NEVER) & set(env)
    assert json.loads(env["DEFAULT_MODEL_PARAMS"]) == {"function_calling": "legacy"}


def test_each_server_shows_its_own_model_only(workstation: Callable[..., Workstation]) -> None:
    env = parsed(workstation())
    assert env["OLLAMA_BASE_URLS"] == "http://127.0.0.1:11434;http://127.0.0.1:11435"
    shown = json.loads(env["OLLAMA_API_CONFIGS"])
    assert {k: v["model_ids"] for k, v in shown.items()} == {"0": ["qwen2.5-coder:32b"], "1": ["deepseek-r1:70b"]}
    assert env["DEFAULT_MODELS"] == "qwen2.5-coder:32b"
    assert parsed(workstation(open_webui={"default_instance": "reasoner"}))["DEFAULT_MODELS"] == "deepseek-r1:70b"


def test_an_answer_cannot_carry_words_out_through_the_browser(workstation: Callable[..., Workstation]) -> None:
    policy = dict(part.strip().split(" ", 1) for part in parsed(workstation())["CONTENT_SECURITY_POLICY"].split(";"))
    assert policy["default-src"] == policy["form-action"] == "'self'"
    for kind in ("img-src", "connect-src", "media-src", "frame-src", "script-src"):
        assert not [word for word in policy[kind].split() if "*" in word or "//" in word or word in ("https:", "http:")]


def test_the_address_is_loopback_until_the_machine_knows_better(workstation: Callable[..., Workstation]) -> None:
    env = parsed(workstation(open_webui={"port": 8090}))
    assert env["CORS_ALLOW_ORIGIN"] == "http://127.0.0.1:8090;http://localhost:8090"
    text = files.unit(workstation(open_webui={"port": 8090, "extra_origins": ["https://chat.example.org"]}))
    assert "origin.py --port 8090 --extra https://chat.example.org\n" in text
    assert text.index("open-webui.env\n") < text.index("origin.env\n"), "the file read last wins"


def test_the_unit_is_confined(workstation: Callable[..., Workstation]) -> None:
    lines = files.unit(workstation()).splitlines()
    assert "ExecStart=/opt/open-webui/current/bin/open-webui serve --host 127.0.0.1 --port 8080" in lines
    for line in ("IPAddressDeny=any", "IPAddressAllow=127.0.0.1/32 ::1/128", "ProtectSystem=strict", "ProtectHome=yes",
                 "SystemCallErrorNumber=EPERM", "CapabilityBoundingSet=", "UMask=0077", "MemoryMax=4G"):  # fmt: skip
        assert line in lines
    assert [line for line in lines if line.startswith("After=")] == [
        "After=network.target tailscaled.service ollama@coder.service ollama@reasoner.service"
    ]


@pytest.mark.parametrize(
    "change", [{"port": 8090}, {"memory_max": "2G"}, {"extra_origins": ["http://a.example"]}, {"session_days": 1}]
)
def test_the_hash_follows_what_the_server_runs_with(
    workstation: Callable[..., Workstation], change: dict[str, Any]
) -> None:
    before = parsed(workstation())["HOLDFAST_CONFIG"]
    assert parsed(workstation(open_webui=change))["HOLDFAST_CONFIG"] != before
    assert parsed(workstation(open_webui={"admin_name": "Ada"}))["HOLDFAST_CONFIG"] == before


def test_quoting_survives_systemd() -> None:
    assert files.quoted('a "b"') == "'a \"b\"'"
    assert files.quoted('it\'s "$HOME" \\') == '"it\'s \\"\\$HOME\\" \\\\"'
    with pytest.raises(ValueError, match="line break"):
        files.quoted("a\nb")
    assert [files.tagged(m) for m in ("coder", "a/b:7b", "host:5000/a/b")] == [
        "coder:latest",
        "a/b:7b",
        "host:5000/a/b:latest",
    ]


@pytest.mark.parametrize(
    "wrong", [{"admin_name": 'A"\nB=1'}, {"admin_email": "ada"}, {"extra_origins": ["chat.example"]}, {"port": 80},
              {"extra_origins": ["https://a/b"]},
              {"extra_origins": ["https://a.example\nExecStartPre=/bin/x"]}, {"extra_origins": ["https://a.example\n"]},
              {"extra_origins": ["https://%h.example"]}, {"extra_origins": ["https://$HOME"]},
              {"memory_max": "4GB"}, {"python": "3.13"}],
)  # fmt: skip
def test_wrong_options_are_refused(workstation: Callable[..., Workstation], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        workstation(open_webui=wrong)
