"""What llama-server puts on each card: the layers, the KV cache, the buffers it computes in.

Sources, all of llama.cpp (read at the version of July 2026; the functions are named below): src/llama-model.cpp (which layer
goes where), src/llama-kv-cache.cpp and src/llama-kv-cache-iswa.cpp (the cache), src/llama-context.cpp and ggml/src/
ggml-backend.cpp (the buffers).  Ollama starts it with `-c context*parallel -np parallel`, all layers on the cards
(LLAMA_ARG_N_GPU_LAYERS=all), split by layer in the proportion of the cards' free memory, and micro-batches of 512 tokens; where
cards are roomy it would take 1024 or 2048 (server/sched.go, automaticGenerationBatch), and a client may ask for any number
(num_batch).  The lease's supervisor lets no more through than the instance's `batch` (HOLDFAST_BATCH), so that what is computed
for that number holds on every card, by construction.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence

from holdfast.fit import ggml
from holdfast.fit.shape import Layer, Shape

BATCH = 512  # tokens; llama.cpp's n_ubatch, and the instances' default
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


def cells(layer: Layer, context: int, batch: int = BATCH) -> int:
    """Tokens that the cache of ``layer`` holds for one request of ``context`` tokens.

    A layer that sees all: the padded context. One with a sliding window (llama_kv_cache_iswa, without --swa-full): the window
    and one micro-batch, padded; never more than the context.
    """
    whole = padded(context)
    return min(whole, padded(layer.window + batch)) if layer.window else whole


def cache(layer: Layer, context: int, parallel: int, kind: str, batch: int = BATCH) -> int:
    """Bytes of the KV cache of one layer: cells x (row of K + row of V) for each of ``parallel`` requests."""
    return parallel * cells(layer, context, batch) * (ggml.row_bytes(kind, layer.k) + ggml.row_bytes(kind, layer.v))


def buffers(
    shape: Shape, layers: Sequence[Layer], last: bool, cards: int, context: int, parallel: int, kind: str, flash: bool,
    batch: int = BATCH,
) -> int:  # fmt: skip
    """Bytes of the compute buffer of one card that has ``layers`` (and the output, if ``last``); an upper bound.

    The allocator (ggml-alloc) uses memory again, so the widest stage of the graph counts, not the sum. With column = 4 x batch
    bytes (an f32 for each token of a micro-batch), state = width columns, query = heads x head columns:

    - output: vocabulary columns + a state. Qwen2.5 14B: 307.00 MiB, as logged. (Versions since mid-2026 need less.)
    - feed-forward: 3 x its width (gate, up, product) + 5 states + one state for each expert in use.
    - attention: 2 queries + 4 states + K + V; without flash attention one query and the scores, heads x cells columns.

    and a mask, cells columns, for the full and for the windowed layers: f32, with flash attention turned into f16, which is
    what lives on (since 2026 it is f16 at once). These are the terms in which llama-server (build 11669, on the processor)
    allocates, to 0.1 MiB, for Llama, Qwen2, Gemma 3 and Qwen3-MoE (tests/unit/fit/test_buffers.py); for parallel requests, which
    have a cache each, the mask is that of one.  With several cards COPIES of what goes into a card's part (state and mask) are
    kept beside every stage. A quantized cache is turned into f16 for one layer at a time (launch_fattn in
    ggml-cuda/fattn-common.cuh), in memory of its own.
    """
    if not layers and not last:
        return 0
    column = 4 * batch
    state, query = shape.width * column, shape.heads * shape.head * column
    output = (shape.vocabulary + shape.width) * column if last else 0
    if not layers:
        return output + (COPIES * state if cards > 1 else 0)
    sizes = {bool(layer.window): cells(layer, context, batch) for layer in layers}
    mask = sum(sizes.values()) * column
    lives = mask // 2 if flash else mask
    attention = 2 * query + 4 * state + max(layer.k + layer.v for layer in layers) * column
    attention += 0 if flash else query + shape.heads * max(sizes.values()) * column
    forward = 3 * shape.feed_forward * column + (5 + shape.experts_used) * state
    cast = mask if flash else 0
    plain = max(2 * parallel * cells(layer, context, batch) * (layer.k + layer.v) for layer in layers)
    extra = plain if flash and kind != "f16" else 0
    if cards > 1:
        return extra + COPIES * (state + mask) + max((lives if flash else 0) + max(attention, forward), output)
    return extra + max(cast + lives + attention, lives + forward, output)
