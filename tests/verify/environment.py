"""What stands in the environment of each Ollama server, word for word; what differs from machine to machine is its shape."""

from __future__ import annotations

from collections.abc import Mapping

from tests.verify.machine import Shape

# What must never be there: ways out, other people's pages, prompts in a file.
NEVER = (
    "OLLAMA_ORIGINS", "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_REMOTES",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
)  # fmt: skip


def promised(role: str, shape: Shape, running: Mapping[str, str]) -> dict[str, str]:
    """Every variable that ollama@ROLE is to have, and its value. ``running``: what the process has, for what only the machine
    knows (the cards' UUIDs)."""
    instance = shape.instances[role]
    out = {
        "HOME": f"/var/lib/holdfast/ollama/{role}",
        "OLLAMA_HOST": f"127.0.0.1:{instance.port}",
        "OLLAMA_MODELS": shape.store,
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_VULKAN": "0",
        "GGML_VK_VISIBLE_DEVICES": "-1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_CACHE_PATH": f"/var/cache/holdfast/ollama/{role}",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_SCHED_SPREAD": "1",
        "OLLAMA_NUM_PARALLEL": str(instance.parallel),
        "OLLAMA_CONTEXT_LENGTH": str(instance.context),
        "OLLAMA_FLASH_ATTENTION": "1" if instance.flash_attention else "0",
        "OLLAMA_KV_CACHE_TYPE": instance.kv_type,
        "OLLAMA_KEEP_ALIVE": instance.keep_alive,
        # A load waits for its turn.
        "OLLAMA_LOAD_TIMEOUT": "0",
        "LLAMA_ARG_FIT": "off",
        "LLAMA_ARG_N_GPU_LAYERS": "all",
        "LLAMA_ARG_CACHE_RAM": str(shape.cache_ram_mib),
        "HOLDFAST_CARDS": " ".join(f"{name}={shape.gpus[name]}" for name in instance.gpus),
        # Ollama may narrow the one; the supervisor goes by the other.
        "HOLDFAST_GPUS": running.get("CUDA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES is not set"),
        "HOLDFAST_REQUIRE_GPU": "yes" if shape.require_gpu else "no",
        "HOLDFAST_PORT": str(instance.port),
        "HOLDFAST_INSTANCE": role,
        "HOLDFAST_LEASE": " ".join(instance.lease),
        "HOLDFAST_LEASE_DIR": "/run/holdfast/lease",
        "HOLDFAST_LEASE_MIN_HOLD_S": f"{instance.min_hold_s:g}",
        "HOLDFAST_CONTEXT": str(instance.context * instance.parallel),
        "HOLDFAST_BATCH": str(instance.batch),
        "HOLDFAST_LOAD_LIMIT_S": str(shape.load_limit_s),
    }
    return out | ({"OLLAMA_LLM_LIBRARY": shape.llm_library} if shape.llm_library else {})


def wrong(role: str, shape: Shape, running: Mapping[str, str]) -> dict[str, str | None]:
    """The variables that are not as promised, by name in their order, and what they are."""
    found = {key: running.get(key) for key, value in promised(role, shape, running).items() if running.get(key) != value}
    return dict(sorted(found.items()))
