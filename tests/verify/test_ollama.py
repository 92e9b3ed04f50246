"""The Ollama servers: what really runs, what it listens on, what it may reach, and that the models answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.verify.locks import artifact_version, members
from tests.verify.machine import Listeners, Shape, assert_confined, assert_on_cards

NO_PROXY_EVER = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
# llama-server's port is lent by the kernel while a model is loaded (net.ipv4.ip_local_port_range).
LENT = 32768


def test_units_are_active_and_enabled(units: dict[str, Any], shape: Shape) -> None:
    states = {u: (units[u]["ActiveState"], units[u]["SubState"], units[u]["UnitFileState"]) for u in shape.ollama_units}
    assert states == dict.fromkeys(shape.ollama_units, ("active", "running", "enabled"))


def test_version_is_as_pinned(answers: dict[str, Any], shape: Shape) -> None:
    found = {role: answers[role]["version"]["json"].get("version") for role in shape.instances}
    assert found == dict.fromkeys(shape.instances, artifact_version("ollama"))


def test_running_binary_is_the_depots(units: dict[str, Any], shape: Shape) -> None:
    """The bytes that run, by /proc/PID/exe: a file that was replaced under a running server shows, too."""
    known = members("ollama", shape.depot)
    for unit in shape.ollama_units:
        assert units[unit]["main"], f"{unit} has no main process"
        assert units[unit]["main"]["sha256"] == known["bin/ollama"], f"{unit} runs {units[unit]['main']['exe']}"
    for unit in shape.ollama_units:
        for process in units[unit]["processes"]:
            assert process["sha256"] in known.values(), f"{unit} has a process of another origin: {process['exe']}"


@pytest.mark.promise("The models' own interfaces can be reached from this machine only")
def test_listens_on_loopback_only(listeners: Listeners, shape: Shape) -> None:
    for role, instance in shape.instances.items():
        unit = f"ollama@{role}.service"
        found = listeners.of(unit)
        assert f"127.0.0.1:{instance.port}" in found, f"{unit} does not listen on its port: {found}"
        lent = {where for where in found if where.startswith("127.0.0.1:") and int(where.rpartition(":")[2]) >= LENT}
        extra = found - {f"127.0.0.1:{instance.port}"} - lent
        assert not extra, f"{unit} also listens on {sorted(extra)}"
        assert not listeners.of(unit, "udp"), f"{unit} listens on UDP {listeners.of(unit, 'udp')}"


def test_environment_is_as_promised(units: dict[str, Any], shape: Shape) -> None:
    for role, instance in shape.instances.items():
        running = units[f"ollama@{role}.service"]["environment"]
        promised = {
            "OLLAMA_HOST": f"127.0.0.1:{instance.port}",
            "OLLAMA_MODELS": shape.store,
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_VULKAN": "0",
            "GGML_VK_VISIBLE_DEVICES": "-1",
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_CONTEXT_LENGTH": str(instance.context),
            "OLLAMA_NUM_PARALLEL": str(instance.parallel),
            "OLLAMA_KV_CACHE_TYPE": instance.kv_type,
            "LLAMA_ARG_FIT": "off",
            "LLAMA_ARG_N_GPU_LAYERS": "all",
            "HOME": f"/var/lib/holdfast/ollama/{role}",
        }
        wrong = {key: running.get(key) for key, value in promised.items() if running.get(key) != value}
        assert not wrong, f"ollama@{role} runs with {wrong}"
        never = ("OLLAMA_ORIGINS", "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_REMOTES", *NO_PROXY_EVER)
        assert not [key for key in never if key in running], f"ollama@{role}: {running}"


def test_runs_without_privileges(units: dict[str, Any], shape: Shape) -> None:
    for unit in shape.ollama_units:
        for process in units[unit]["processes"]:
            found = {k: process[k] for k in ("user", "capabilities", "no_new_privileges", "filtered")}
            assert found == {"user": "ollama", "capabilities": 0, "no_new_privileges": True, "filtered": True}, f"{unit}: {found}"
        assert units[unit]["processes"], f"{unit} has no process"


def test_each_model_answers(answers: dict[str, Any], shape: Shape, expected: dict[str, str]) -> None:
    for role, instance in shape.instances.items():
        given = answers[role]["generate"]
        assert given["status"] == 200, f"{role} ({instance.model}): {given['problem']}"
        # This prompt goes in as it is, so a reasoner's thoughts come in the answer.
        said = re.sub(r"<think>.*?</think>", "", given["json"].get("response", ""), flags=re.DOTALL).strip()
        if role in expected:
            assert said == expected[role], f"{role} says {said!r}"
        else:
            # A reasoner may use up the tokens that this question allows while it is still thinking.
            assert said or given["json"].get("thinking"), f"{role} answers nothing"


def test_context_is_as_declared(answers: dict[str, Any], shape: Shape) -> None:
    for role, instance in shape.instances.items():
        loaded = {m["name"]: m.get("context_length") for m in answers[role]["loaded"]["json"].get("models", [])}
        if instance.keep_alive.startswith("0"):
            continue  # it is gone before anybody can look
        assert loaded == {instance.model: instance.context}, f"{role} holds {loaded}"


@pytest.mark.promise("Models have no internet, and no way to this machine's network")
def test_models_have_no_internet(confined: dict[str, Any], shape: Shape) -> None:
    assert_confined(confined, shape.ollama_units)


def test_cloud_is_off(answers: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        assert answers[role]["status"]["json"].get("cloud", {}).get("disabled") is True, answers[role]["status"]


@pytest.mark.promise("No web page that you open can talk to the models behind your back")
def test_foreign_pages_are_refused(answers: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        assert answers[role]["version"]["status"] == 200, f"{role} answers nobody: {answers[role]['version']}"
        assert answers[role]["foreign_host"] == 403, f"{role} takes a request for another host's name"
        assert answers[role]["foreign_origin"] == 403, f"{role} takes a request from another page"


def test_all_of_the_model_is_on_the_cards(answers: dict[str, Any], shape: Shape, cards: dict[str, Any]) -> None:
    for role, instance in shape.instances.items():
        if not instance.gpus or instance.keep_alive.startswith("0"):
            continue  # on no card, or gone before anybody can look
        assert_on_cards(role, instance.model, answers[role]["loaded"]["json"].get("models", []))


def test_servers_see_exactly_their_cards(units: dict[str, Any], shape: Shape, cards: dict[str, Any]) -> None:
    uuid_of = {row["address"]: row["uuid"] for row in cards["smi"]}
    for role, instance in shape.instances.items():
        wanted = ",".join(uuid_of[shape.gpus[name]] for name in instance.gpus)
        found = units[f"ollama@{role}.service"]["environment"].get("CUDA_VISIBLE_DEVICES")
        assert found == wanted, f"ollama@{role} sees {found}"
        assert re.fullmatch(r"(GPU-[0-9a-f-]{36},?)+", found or ""), found
