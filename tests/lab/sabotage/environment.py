"""Every variable of a server's environment, one by one another than promised: the check must name each of them."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

_ENV = "/etc/holdfast/ollama/reasoner.env"
_UNIT = "/etc/systemd/system/ollama@.service"

# With values with which the server still starts. HOLDFAST_GPUS comes from a file that is read after this one.
OTHER = {
    "HOME": "/var/lib/holdfast/ollama/coder",
    "OLLAMA_HOST": "0.0.0.0:11435",
    "OLLAMA_MODELS": "/var/lib/holdfast/models/",
    "OLLAMA_NOPRUNE": "true",
    "OLLAMA_NO_CLOUD": "0",
    "OLLAMA_VULKAN": "1",
    "GGML_VK_VISIBLE_DEVICES": "0",
    "CUDA_DEVICE_ORDER": "FASTEST_FIRST",
    "CUDA_CACHE_PATH": "/tmp",
    "OLLAMA_LLM_LIBRARY": "cuda_v13",
    "OLLAMA_MAX_LOADED_MODELS": "2",
    "OLLAMA_SCHED_SPREAD": "0",
    "OLLAMA_NUM_PARALLEL": "3",
    "OLLAMA_CONTEXT_LENGTH": "2048",
    "OLLAMA_FLASH_ATTENTION": "auto",
    "OLLAMA_KV_CACHE_TYPE": "f32",
    "OLLAMA_KEEP_ALIVE": "7m",
    "OLLAMA_LOAD_TIMEOUT": "5m",
    "LLAMA_ARG_FIT": "on",
    "LLAMA_ARG_N_GPU_LAYERS": "20",
    "LLAMA_ARG_CACHE_RAM": "1",
    "HOLDFAST_CARDS": "",
    "HOLDFAST_GPUS": "GPU-00000000-0000-0000-0000-000000000000",
    "HOLDFAST_REQUIRE_GPU": "false",
    "HOLDFAST_PORT": "011435",
    "HOLDFAST_INSTANCE": "somebody",
    "HOLDFAST_LEASE": "",
    "HOLDFAST_LEASE_DIR": "/run/holdfast/lease/",
    "HOLDFAST_LEASE_MIN_HOLD_S": "1e9",
    "HOLDFAST_CONTEXT": "0",
    "HOLDFAST_BATCH": "4096",
    "HOLDFAST_LOAD_LIMIT_S": "0",
}


def _script() -> str:
    lines = [f"sed -i '/^{key}=/d' {_ENV}; echo '{key}={value}' >> {_ENV}" for key, value in OTHER.items()]
    # … and once more after that.
    again = r"s|^EnvironmentFile=-/run/holdfast/ollama/.*|&\nEnvironmentFile=/etc/holdfast/ollama/%i.env|"
    return "\n".join([*lines, f"sed -i '{again}' {_UNIT}", f"test $(grep -c ^EnvironmentFile= {_UNIT}) = 3"])


SABOTAGES = [
    Sabotage(
        "every variable of a server is another", 4, _script(),
        {"test_ollama.py::test_environment_is_as_promised": f"not as promised: {', '.join(sorted(OTHER))}"},
        ("ollama@reasoner",),
    ),
]  # fmt: skip
