"""Ollama's units and environments from settings, and what stops an apply before it begins."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conftest import needs

from holdfast.components.nvidia.facts import Cards
from holdfast.components.ollama import files
from holdfast.components.ollama.operations import obstacle
from holdfast.components.ollama.options import Instance
from holdfast.settings import Workstation
from holdfast.settings.loader import resolve
from holdfast_onhost.lease.settings import Settings

GPUS = {"left": "0000:01:00.0", "right": "0000:21:00.0"}


def workstation(**changes: Any) -> Workstation:
    site = {"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": GPUS, **changes}
    return resolve(site)


def environment(ws: Workstation, role: str, release: str = "r") -> dict[str, str]:
    lines = [line for line in files.environment(ws, role, release).splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_environment_of_each_role() -> None:
    ws = workstation()
    coder, reasoner = environment(ws, "coder"), environment(ws, "reasoner")
    assert coder["OLLAMA_HOST"] == "127.0.0.1:11434"
    assert reasoner["OLLAMA_HOST"] == "127.0.0.1:11435"
    assert coder["HOLDFAST_CARDS"] == '"left=0000:01:00.0"'
    assert reasoner["HOLDFAST_CARDS"] == '"left=0000:01:00.0 right=0000:21:00.0"'
    assert coder["HOME"] != reasoner["HOME"]
    assert coder["CUDA_CACHE_PATH"] != reasoner["CUDA_CACHE_PATH"]
    promised = {
        "OLLAMA_NOPRUNE": "1", "OLLAMA_NO_CLOUD": "1", "OLLAMA_VULKAN": "0", "GGML_VK_VISIBLE_DEVICES": "-1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_LOAD_TIMEOUT": "0",
        "LLAMA_ARG_FIT": "off", "LLAMA_ARG_N_GPU_LAYERS": "all", "OLLAMA_CONTEXT_LENGTH": "16384",
        "OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1", "HOLDFAST_REQUIRE_GPU": "yes",
        "OLLAMA_SCHED_SPREAD": "1", "HOLDFAST_BATCH": "512", "HOLDFAST_LOAD_LIMIT_S": "1800",
    }  # fmt: skip
    assert promised.items() <= coder.items()
    # The answer of devices.py must not be overruled, and nothing may reach out.
    assert not {"CUDA_VISIBLE_DEVICES", "HOLDFAST_GPUS", "HTTPS_PROXY", "HTTP_PROXY", "OLLAMA_ORIGINS"} & coder.keys()


def test_environment_has_these_names_and_no_others() -> None:
    """Each one changes how Ollama or llama-server works: one that came in by chance would, too."""
    ours = {
        "CARDS", "REQUIRE_GPU", "PORT", "INSTANCE", "LEASE_DIR", "LEASE", "LEASE_MIN_HOLD_S", "LEASE_VRAM", "CONTEXT", "BATCH",
        "LOAD_LIMIT_S", "CONFIG",
    }  # fmt: skip
    named = {
        "HOME", "OLLAMA_HOST", "OLLAMA_MODELS", "OLLAMA_NOPRUNE", "OLLAMA_NO_CLOUD", "OLLAMA_VULKAN", "GGML_VK_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER", "CUDA_CACHE_PATH", "OLLAMA_LLM_LIBRARY", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_SCHED_SPREAD",
        "OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_KEEP_ALIVE",
        "OLLAMA_LOAD_TIMEOUT", "LLAMA_ARG_FIT", "LLAMA_ARG_N_GPU_LAYERS", "LLAMA_ARG_CACHE_RAM",
        *(f"HOLDFAST_{name}" for name in ours),
    }  # fmt: skip
    for role in ("coder", "reasoner"):
        assert environment(workstation(), role).keys() == named
    assert environment(workstation(ollama={"llm_library": ""}), "coder").keys() == named - {"OLLAMA_LLM_LIBRARY"}


def test_change_of_one_role_leaves_the_other_ones_configuration() -> None:
    plain, changed = workstation(), workstation(instances={"coder": {"context": 8192}})
    assert environment(plain, "coder")["HOLDFAST_CONFIG"] != environment(changed, "coder")["HOLDFAST_CONFIG"]
    assert files.environment(plain, "reasoner", "r") == files.environment(changed, "reasoner", "r")


def test_lease_of_each_role() -> None:
    ws = workstation(instances={"coder": {"parallel": 2, "context": 4096}}, ollama={"lease_min_hold_s": 2.5})
    coder, reasoner = environment(ws, "coder"), environment(ws, "reasoner")
    assert (coder["HOLDFAST_LEASE"], reasoner["HOLDFAST_LEASE"]) == ('"left"', '"left right"')
    assert (coder["HOLDFAST_CONTEXT"], reasoner["HOLDFAST_CONTEXT"]) == ("8192", "16384")
    assert (coder["HOLDFAST_INSTANCE"], coder["HOLDFAST_LEASE_MIN_HOLD_S"]) == ("coder", "2.5")
    # The published load log of the reasoner: 39,979 MiB of weights over both cards, and then the cache and buffers.
    needed = [int(word) for word in reasoner["HOLDFAST_LEASE_VRAM"].strip('"').split()]
    assert len(needed) == 2 and 39979 < sum(needed) < 2 * 24135
    # What the supervisor reads is what is written here.
    lines = {name: value.strip('"') for name, value in reasoner.items()}
    read = Settings.read({**lines, "HOLDFAST_LLAMA_SERVER": "/x", "HOLDFAST_GPUS": "GPU-a,GPU-b"})
    assert read.resources == ("left", "right") and read.vram_mib == tuple(needed) and read.on_gpus and read.require_gpu
    assert (read.context, read.min_hold_s, read.server) == (16384, 2.5, ("127.0.0.1", 11435))


def test_batch_and_load_limit_are_settings() -> None:
    ws = workstation(instances={"coder": {"batch": 256}}, ollama={"load_limit_s": 90})
    coder, reasoner = environment(ws, "coder"), environment(ws, "reasoner")
    assert (coder["HOLDFAST_BATCH"], reasoner["HOLDFAST_BATCH"]) == ("256", "512")
    assert coder["HOLDFAST_LOAD_LIMIT_S"] == reasoner["HOLDFAST_LOAD_LIMIT_S"] == "90"


def test_lease_by_hand_and_of_an_unknown_card() -> None:
    ws = workstation(instances={"coder": {"lease": ["memory"]}, "reasoner": {"lease": []}}, card="")
    coder, reasoner = environment(ws, "coder"), environment(ws, "reasoner")
    assert (coder["HOLDFAST_LEASE"], reasoner["HOLDFAST_LEASE"]) == ('"memory"', '""')
    assert coder["HOLDFAST_LEASE_VRAM"] == '""', "not known is not a number"
    changed = workstation(instances={"coder": {"lease": ["fan"]}, "reasoner": {"lease": []}}, card="")
    assert environment(changed, "coder")["HOLDFAST_CONFIG"] != coder["HOLDFAST_CONFIG"]
    assert environment(changed, "reasoner") == reasoner


def test_another_supervisor_is_another_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances that run different ones might not understand each other's locks."""
    ws = workstation()
    before = files.config(ws, "coder", "r")
    monkeypatch.setattr(files, "_lease", lambda: b"changed")
    assert files.config(ws, "coder", "r") != before


def test_new_release_and_new_unit_change_every_configuration() -> None:
    ws, other = workstation(), workstation(ollama={"ready_timeout_s": 77})
    for role in ws.instances:
        configs = {files.config(ws, role, "r"), files.config(ws, role, "s"), files.config(other, role, "r")}
        assert len(configs) == 3
        assert environment(ws, role)["HOLDFAST_CONFIG"] == files.config(ws, role, "r")


def test_every_role_may_open_its_own_port_only() -> None:
    ws = workstation()
    assert "SocketBindAllow=ipv4:tcp:11434\n" in files.port(ws, "coder")
    assert "11434" not in files.template(ws)
    paths = [entry.path for entry in [*files.units(ws), *files.environments(ws, "r")]]
    assert "/etc/systemd/system/ollama@coder.service.d/port.conf" in paths
    assert "/etc/systemd/system/ollama@reasoner.service.d/port.conf" in paths


@needs("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = files.template(workstation()).replace(files.PROGRAM, "/bin/true")
    path = tmp_path / "ollama@coder.service"
    path.write_text(text)

    def verify() -> str:
        command = ["systemd-analyze", "verify", "--man=no", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "ollama@" not in verify()
    path.write_text(text.replace("UMask=0077", "UMask=verywide"))
    assert "ollama@" in verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 80}, {"port": 40000}, {"context": 10}, {"kv_type": "f32"}, {"keep_alive": "soon"}, {"model": "no tag"},
        {"flash_attention": False, "kv_type": "q8_0"}, {"parallel": 0}, {"colour": "red"}, {"lease": ["../x"]}, {"lease": "left"},
    ],
)  # fmt: skip
def test_wrong_instances_are_refused(changes: dict[str, Any]) -> None:
    right: dict[str, Any] = {"model": "qwen2.5-coder:32b", "gpus": ["left"], "port": 11434}
    Instance.model_validate(right)
    with pytest.raises(ValidationError):
        Instance.model_validate({**right, **changes})


def test_ollama_without_cuda_is_refused_where_there_are_cards() -> None:
    assert obstacle(Cards(())) is None
    problem = obstacle(Cards(("0000:01:00.0",)))
    assert problem
    assert "without CUDA" in problem.message and "0000:01:00.0" in problem.message
    assert problem.fix.startswith("./holdfast depot update ollama")


@pytest.mark.parametrize("given", [-1, 0, 300, "-1", "5m"])
def test_keep_alive_is_also_a_plain_number(given: object) -> None:
    """`keep_alive: -1` is a number to YAML."""
    ws = workstation(instances={"coder": {"keep_alive": given}})
    assert environment(ws, "coder")["OLLAMA_KEEP_ALIVE"] == str(given)
