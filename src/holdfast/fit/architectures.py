"""Which architectures the arithmetic holds for, and which of their layers see a window only.

Each was looked up in src/models/*.cpp of llama.cpp (load_arch_hparams): an ordinary KV cache for every layer.  Everything
else (latent attention, recurrent and hybrid layers, shared caches, chunks, a vision part) is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Windows:
    """``pattern``: of so many layers the last one sees everything. ``default``: the window where the GGUF names none.
    ``layers``: only a model with so many layers has windows (0: any)."""

    pattern: int
    default: int = 0
    layers: int = 0


# None: all layers see everything; a window in the GGUF is not used (phi3: "SWA is currently disabled").
KNOWN: dict[str, Windows | None] = {
    "llama": None, "mistral3": None, "qwen2": None, "qwen2moe": None, "qwen3": None, "qwen3moe": None, "phi3": None,
    "granite": None, "granitemoe": None, "command-r": None, "starcoder2": None, "gemma": None, "olmoe": None,
    "gemma2": Windows(2, default=4096), "gemma3": Windows(6), "cohere2": Windows(4), "gpt-oss": Windows(2),
    "exaone4": Windows(4, default=4096, layers=64), "olmo2": Windows(4),
}  # fmt: skip

# A key that changes what is cached or where it lies, whatever the architecture says.
_FOREIGN = (
    "attention.kv_lora_rank",
    "attention.shared_kv_layers",
    "nextn_predict_layers",
    "ssm.",
    "wkv.",
    "attention.indexer",
)


def foreign(architecture: str, keys: Mapping[str, Any]) -> str:
    """Why the arithmetic does not hold for a GGUF with these ``keys``; empty where it does."""
    if architecture not in KNOWN:
        return f"the architecture {architecture!r} is not known here"
    for key, value in keys.items():
        for part in _FOREIGN:
            if key.startswith(f"{architecture}.{part}") and value:
                return f"{key} is set: how such a {architecture} keeps its context is not known here"
    return ""


def windows(architecture: str, layers: int, keys: Mapping[str, Any]) -> list[int]:
    """For each layer the window in tokens, 0 where it sees everything (llama_hparams::set_swa_pattern, load_swa_pattern).

    Raises ValueError for keys that say no such thing.
    """
    rule = KNOWN.get(architecture)
    if rule is None or (rule.layers and rule.layers != layers):
        return [0] * layers
    size = _whole(keys, f"{architecture}.attention.sliding_window", 0) or rule.default
    key = f"{architecture}.attention.sliding_window_pattern"
    each = keys.get(key)
    if isinstance(each, list):
        if len(each) < layers or not all(isinstance(windowed, int) for windowed in each):
            raise ValueError(f"{key} is {each!r:.60}, for {layers} layers")
        return [size if windowed else 0 for windowed in each]
    pattern = _whole(keys, key, rule.pattern)
    if not size:
        return [0] * layers
    return [size if pattern == 0 or number % pattern < pattern - 1 else 0 for number in range(layers)]


def _whole(keys: Mapping[str, Any], key: str, default: int) -> int:
    value = keys.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{key} is {value!r:.60}")
    return value
