"""What llama-server puts on each card: the layers, the KV cache, the buffers it computes in.

Sources, all of llama.cpp (read at the version of July 2026; the functions are named below): src/llama-model.cpp (which layer
goes where), src/llama-kv-cache.cpp and src/llama-kv-cache-iswa.cpp (the cache), src/llama-context.cpp and ggml/src/
ggml-backend.cpp (the buffers).  Ollama starts it with `-c context*parallel -np parallel`, all layers on the cards
(LLAMA_ARG_N_GPU_LAYERS=all), split by layer in the proportion of the cards' free memory, and micro-batches of 512 tokens.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence

from holdfast.fit import ggml
from holdfast.fit.shape import Layer, Shape

BATCH = 512  # llama.cpp's n_ubatch; Ollama takes more only where the cards have more than a fifth to spare (sched.go)
COPIES = 4  # GGML_SCHED_MAX_COPIES: of what goes into a card's part, so that several cards work at once
PAD = 256  # llama_context rounds the context up to it


def split(layers: int, free: Sequence[int]) -> list[int]:
    """For each of ``layers`` and, last, for the output: the index of its card. ``free``: bytes free on each card.

    llama_model::load_tensors: card = upper_bound(cumulated shares of the free memory, layer / (layers + 1)), in 32-bit floats.
    """
    shares, total = [], 0.0
    for one in free:
        total = _float(total + _float(one))
        shares.append(total)
    points = [_float(share / total) for share in shares] if total else [1.0] * len(free)
    slots = layers + 1
    return [min(bisect_right(points, _float(slot / slots)), len(free) - 1) for slot in range(slots)]


def _float(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def padded(context: int) -> int:
    """``context`` rounded up to whole blocks of PAD, as the server does (GGML_PAD in llama_context)."""
    return -(-context // PAD) * PAD


def cells(layer: Layer, context: int) -> int:
    """Tokens that the cache of ``layer`` holds for one request of ``context`` tokens.

    A layer that sees all: the padded context. One with a sliding window (llama_kv_cache_iswa, without --swa-full): the window
    and one micro-batch, padded; never more than the context.
    """
    whole = padded(context)
    return min(whole, padded(layer.window + BATCH)) if layer.window else whole


def cache(layer: Layer, context: int, parallel: int, kind: str) -> int:
    """Bytes of the KV cache of one layer: cells x (row of K + row of V) for each of ``parallel`` requests."""
    return parallel * cells(layer, context) * (ggml.row_bytes(kind, layer.k) + ggml.row_bytes(kind, layer.v))


def buffers(
    shape: Shape, layers: Sequence[Layer], last: bool, cards: int, context: int, parallel: int, kind: str, flash: bool
) -> int:
    """Bytes of the compute buffer of one card that has ``layers`` (and the output, if ``last``); an upper bound.

    The allocator (ggml-alloc) uses memory again, so the widest stage of the graph counts, not the sum:

    - output: (vocabulary + width) x BATCH x 4 bytes. Qwen2.5 14B, one card: (152064 + 5120) x 512 x 4 = 307.00 MiB, as logged.
    - attention, without flash attention: heads x cells x BATCH x 4, and query, its result, state and its norm beside it;
      Llama 70B at 8192: 1024 + 64 MiB and the inputs, logged 1104.00. With flash attention the scores are not kept.
    - feed-forward: twice its width and twice the state; with experts also one state for each expert in use.

    And what goes in: the state, and a mask of cells x BATCH in f32 (with flash attention once more in f16) for the full
    and for the windowed layers. With several cards COPIES of it are kept beside every stage. A quantized cache is turned into
    f16 for one layer at a time (launch_fattn in ggml-cuda/fattn-common.cuh), in memory of its own.
    """
    if not layers and not last:
        return 0
    column = 4 * BATCH
    sizes = sorted({bool(layer.window): parallel * cells(layer, context) for layer in layers}.values())
    mask = sum(sizes) * column
    half = mask // 2 if flash else 0
    widest = max(sizes, default=0)
    state = shape.width * column
    query = shape.heads * shape.head * column
    attention = 2 * query + 2 * state
    if not flash:
        attention += shape.heads * widest * column
    plain = max((2 * parallel * cells(one, context) * (one.k + one.v) for one in layers), default=0)
    extra = plain if flash and kind != "f16" else 0
    forward = 2 * shape.feed_forward * column + (2 + shape.experts_used) * state
    stages = [half + attention, half + forward] if layers else []
    output = (shape.vocabulary + shape.width) * column if last else 0
    if cards > 1:
        return extra + COPIES * (state + mask) + max([*stages, output])
    return extra + max([state + mask + stage for stage in stages] + [output])
