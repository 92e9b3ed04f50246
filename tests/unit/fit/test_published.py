"""The arithmetic against what llama-server wrote into published logs; each figure with the place where it stands."""

from __future__ import annotations

import pytest

from holdfast.fit import CARDS, judge, memory
from holdfast.fit.cards import Card
from holdfast.fit.judge import MIB
from holdfast.fit.lock import shapes
from holdfast.fit.q4_k_m import PUBLISHED, shape
from holdfast.fit.shape import Layer, Shape

GPT_OSS = Shape(  # https://huggingface.co/openai/gpt-oss-20b/blob/main/config.json
    "gpt-oss", tuple(Layer(1, 1, 512, 512, 0 if n % 2 else 128) for n in range(24)), 131072, 2880, 201088, 64, 64,
    4 * 2880, 1, 1, 32, 4,
)  # fmt: skip


def near(value: float, logged: float, share: float = 0.03) -> bool:
    return abs(value - logged) <= share * logged


def test_near_can_see_a_difference() -> None:
    assert near(103, 100) and not near(104, 100)


@pytest.mark.parametrize(
    ("model", "logged", "embedding"),
    [
        # ggml-org/llama.cpp#11861: CUDA0 model buffer size = 18508.35 MiB, CPU_Mapped 417.66
        ("qwen2.5-coder:32b", 18508.35, 417.66),
        ("deepseek-r1:32b", 18508.35, 417.66),
        # computed from the tensors of the published GGUF, 42,520,397,873 bytes with all its layers: 39,979 MiB
        ("deepseek-r1:70b", 39979, 564),
    ],
)
def test_weights(model: str, logged: float, embedding: float) -> None:
    found = shape(PUBLISHED[model])
    assert near(found.weights / MIB, logged, 0.0001)
    assert near(found.embedding / MIB, embedding, 0.001)


@pytest.mark.parametrize(
    ("model", "size"),
    [("qwen2.5-coder:32b", 19_851_336_384), ("deepseek-r1:70b", 42_520_397_873)],
)
def test_the_files_have_these_sizes(model: str, size: int) -> None:
    found = shape(PUBLISHED[model])
    # What is missing is the header with the vocabulary: 6 to 8 MB.
    assert 0 < size - found.weights - found.embedding < 9_000_000


def test_layers_go_to_the_cards_as_logged() -> None:
    """DeepSeek-R1-Distill-Qwen-32B-Q4_K_M over four 3090s with 23982, 23982, 23982 and 23923 MiB free:
    CUDA0 4844.72, CUDA1 4366.53, CUDA2 4366.53, CUDA3 4930.57 MiB (notes of a published llama-server run, 2025)."""
    free = (23982, 23982, 23982, 23923)
    cards = [Card("RTX 3090", 24576, mib, 936) for mib in free]
    found = judge(shape(PUBLISHED["deepseek-r1:32b"]), cards, 8192)
    assert [round(gpu.weights, 2) for gpu in found.gpus] == [4844.72, 4366.53, 4366.53, 4930.57]


def test_eighty_layers_over_two_equal_cards() -> None:
    """41 and 39 layers, and the output: Llama 70B, KV 656 MiB at 4096 tokens on the first of two (16 MiB a layer)."""
    found = judge(shape(PUBLISHED["deepseek-r1:70b"]), [CARDS["rtx-3090"]] * 2, 4096)
    assert [gpu.layers for gpu in found.gpus] == [41, 39]
    assert found.gpus[0].kv == 656


@pytest.mark.parametrize(
    ("kind", "mib"),
    # ollama notes: 256, 136, 72 KiB a token for the coder; 320, 170, 90 for the reasoner
    [("f16", (4096, 5120)), ("q8_0", (2176, 2720)), ("q4_0", (1152, 1440))],
)
def test_kv_cache_at_16k(kind: str, mib: tuple[int, int]) -> None:
    models = [shape(PUBLISHED[name]) for name in ("qwen2.5-coder:32b", "deepseek-r1:70b")]
    found = tuple(sum(memory.cache(layer, 16384, 1, kind) for layer in model.layers) // MIB for model in models)
    assert found == mib


def test_kv_cache_with_a_window() -> None:
    """gpt-oss-20b, 131072 tokens: full layers 3072 MiB; windowed ones 768 cells, 18 MiB (batch 512), 2304 and 54 (2048)."""
    full = [layer for layer in GPT_OSS.layers if not layer.window]
    windowed = [layer for layer in GPT_OSS.layers if layer.window]
    assert sum(memory.cache(layer, 131072, 1, "f16") for layer in full) == 3072 * MIB
    assert memory.cells(windowed[0], 131072) == 768
    assert sum(memory.cache(layer, 131072, 1, "f16") for layer in windowed) == 18 * MIB
    assert memory.cells(windowed[0], 300) == 512


def test_the_lock_holds_what_the_rule_gives() -> None:
    known = shapes()
    assert set(known) >= set(PUBLISHED)
    for name, architecture in PUBLISHED.items():
        if known[name].source != "read from the GGUF":
            assert known[name] == shape(architecture), name


def test_speed_limits() -> None:
    """48.2 tokens a second for the coder, 22.3 for the reasoner over two; 16.57 is published for the latter on two 3090s
    (XiongjieDai/GPU-Benchmarks-on-LLM-Inference) and 34.7 for the former: below the limit, and more than half of it."""
    card = CARDS["rtx-3090"]
    coder = judge(shape(PUBLISHED["qwen2.5-coder:32b"]), [card], 16384)
    reasoner = judge(shape(PUBLISHED["deepseek-r1:70b"]), [card, card], 16384, kv_type="q8_0")
    assert round(coder.speed, 1) == 48.2 and round(coder.speed_full, 1) == 39.5
    assert round(reasoner.speed, 1) == 22.3
    for limit, reached in ((coder.speed, 34.7), (reasoner.speed, 16.57)):
        assert limit / 2 < reached < limit
