"""What llama-server, or Ollama's runner before it, wrote when it loaded a model: published by others, each with its address.

Only what stands in the log is a figure here (MiB, card by card). The shapes beside them are computed: from the architecture that
the log itself prints and the number formats' sizes (holdfast.fit.ggml), or by holdfast.fit.q4_k_m.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.fit.ggml import row_bytes
from holdfast.fit.q4_k_m import PUBLISHED, Architecture, more_bits, shape
from holdfast.fit.shape import Layer, Shape

CODER, REASONER = shape(PUBLISHED["qwen2.5-coder:32b"]), shape(PUBLISHED["deepseek-r1:70b"])
QWEN14 = shape(Architecture("qwen2", 48, 5120, 40, 8, 13824, 152064, 32768))
LLAMA8 = shape(Architecture("llama", 32, 4096, 32, 8, 14336, 128256, 131072, rope=64))


@dataclass(frozen=True)
class Log:
    """One load. ``free``: MiB free on each card before it. ``weights``, ``kv``, ``buffers``: MiB on each card, as written; empty
    where the published excerpt does not have them. ``embedding``: MiB that stayed on the processor."""

    address: str
    shape: Shape
    kind: str
    free: tuple[int, ...]
    weights: tuple[float, ...]
    context: int = 4096
    kv: tuple[float, ...] = ()
    buffers: tuple[float, ...] = ()
    flash: bool = True
    embedding: float = 0.0


def _bytes(kind: str, row: int, rows: int) -> int:
    return row_bytes(kind, row) * rows


def _llama70_q4_0() -> Shape:
    w, f, kv, tokens = 8192, 28672, 1024, 128256
    layer = 2 * _bytes("Q4_0", w, w) + 2 * _bytes("Q4_0", w, kv) + 2 * _bytes("Q4_0", w, f) + _bytes("Q4_0", f, w) + 8 * w
    out = _bytes("Q6_K", w, tokens) + 4 * w + 4 * 64
    return Shape("llama", (Layer(layer, layer, kv, kv),) * 80, 131072, w, tokens, 64, 128, f, out, _bytes("Q4_0", w, tokens))


def _qwen3_30b(q4: bool) -> Shape:
    """Qwen3-30B-A3B, in Q4_K_M or Q8_0: 128 experts of 768, 8 in use, heads of 128 in 32 and 4."""
    w, tokens, few = 2048, 151936, "Q4_K" if q4 else "Q8_0"
    layers = []
    for number in range(48):
        better = ("Q6_K" if more_bits(number, 48) else "Q4_K") if q4 else "Q8_0"
        experts = 128 * (2 * _bytes(few, w, 768) + _bytes(better, 768, w))
        attention = _bytes(few, w, 4096) + _bytes(few, w, 512) + _bytes(better, w, 512) + _bytes(few, 4096, w)
        rest = attention + 4 * (2 * w + 2 * 128) + 4 * w * 128
        layers.append(Layer(rest + experts, rest + experts * 8 // 128, 512, 512))
    out = _bytes("Q6_K" if q4 else "Q8_0", w, tokens) + 4 * w
    table = _bytes(few, w, tokens)
    return Shape("qwen3moe", tuple(layers), 262144, w, tokens, 32, 128, 8 * 768, out, table, 128, 8)


def _gpt_oss() -> Shape:
    """gpt-oss-20b: MXFP4 experts, the rest in Q8_0; each second layer sees 128 tokens."""
    w, tokens = 2880, 201088
    attention = _bytes("Q8_0", w, 4096) + 2 * _bytes("Q8_0", w, 512) + _bytes("Q8_0", 4096, w)
    biases = 4 * (4096 + 512 + 512 + w + 64 + 2 * w)  # with the sinks and the norms
    experts = 32 * 3 * (_bytes("MXFP4", w, w) + 4 * w)
    rest = attention + biases + 4 * w * 32 + 4 * 32
    layers = [Layer(rest + experts, rest + experts // 8, 512, 512, 0 if n % 2 else 128) for n in range(24)]
    table = _bytes("Q8_0", w, tokens)
    return Shape("gpt-oss", tuple(layers), 131072, w, tokens, 64, 64, 4 * w, table + 4 * w, table, 32, 4)


GPT_OSS, QWEN3_Q4, QWEN3_Q8 = _gpt_oss(), _qwen3_30b(True), _qwen3_30b(False)

LOGS = [
    # The coder's format and shape on one card, 16384 tokens.
    Log("https://github.com/ggml-org/llama.cpp/issues/11861", CODER, "dense 32B", (23982,), (18508.35,), 16384, embedding=417.66),
    # DeepSeek-R1-Distill-Qwen-32B over four 3090s (notes in a public repository; their address was not kept).
    Log("", CODER, "dense 32B", (23982, 23982, 23982, 23923), (4844.72, 4366.53, 4366.53, 4930.57), 8192, embedding=417.66),
    # The same family, 14B, with its cache.
    Log("https://github.com/ollama/ollama/issues/9091", QWEN14, "dense 14B", (23000,), (8148.38,), 8192, (1536.0,), flash=False,
        embedding=417.66),
    # The reasoner itself: blob sha256-4cd576d9aa16…, deepseek-r1:70b, over three cards, 4 requests of 2048 tokens in one cache.
    Log("https://github.com/ollama/ollama/issues/8922", REASONER, "dense 70B", (24000,) * 3, (13303.88, 12951.00, 13724.61), 8192,
        (864.0, 864.0, 832.0), (1216.01, 1216.01, 1216.02), False, 563.62),
    # Llama 3.1 70B in Q4_0 over two devices (by RPC, which computes without the copies that cards keep for one another).
    Log("https://github.com/ArmDeveloperEcosystem/arm-learning-paths/blob/main/content/learning-paths/"
        "servers-and-cloud-computing/distributed-inference-with-llama-cpp/how-to-3.md", _llama70_q4_0(), "dense 70B",
        (31491, 31491), (18821.56, 18725.42), 4096, (656.0, 624.0), (588.01, 588.01), False, 563.62),
    # Hermes-4-70B in Q4_K_M on one device: the reasoner's shape.
    Log("https://github.com/clearclown/tirami", REASONER, "dense 70B", (49000,), (39979.48,)),
    # Qwen3-Coder-30B-A3B in Q8_0 on an A100 with 39903 MiB free, build 7342 (a public repository's notes; address not kept).
    Log("", QWEN3_Q8, "experts", (39903,), (30658.12,), 65536, (6144.0,), (300.75,), embedding=315.30),
    # gpt-oss-20b, 131072 tokens; llama.cpp's half of a comparison. 3072 MiB for layers that see all, 18 for the windowed ones.
    Log("https://github.com/ikawrakow/ik_llama.cpp/issues/822", GPT_OSS, "window", (24000,), (), 131072, (3090.0,)),
    # The same on an Apple M5 (address not kept): 11536.18 MiB mapped, the 586.82 of the embedding among them.
    Log("", GPT_OSS, "window", (24000,), (11536.18 - 586.82,), 131072, (3090.0,), (420.08,), embedding=586.82),
]  # fmt: skip
