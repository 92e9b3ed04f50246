"""`python -m holdfast.fit.q4_k_m` computed the shapes in locks/models.yml whose `source` says so, and computes them anew.

A model's shape from its published architecture, as llama.cpp's Q4_K_M makes it: for where its GGUF cannot be read.

Source of the rule: llama_tensor_get_type_impl in src/llama-quant.cpp of llama.cpp.  For dense models of the Llama and Qwen2
families, whose matrices all have rows of whole 256-blocks.  It gives the published sizes to the byte (tests/unit/fit).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from holdfast.fit.ggml import row_bytes
from holdfast.fit.lock import LOCK, shapes, write
from holdfast.fit.shape import COMPUTED, Layer, Shape


@dataclass(frozen=True)
class Architecture:
    """What a model's config.json says: num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, head_dim,
    intermediate_size, vocab_size, max_position_embeddings, tie_word_embeddings; ``rope``: llama3's rope factors (elements)."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int
    head: int = 128
    tied: bool = False
    rope: int = 0


# https://huggingface.co/Qwen/Qwen2.5-Coder-32B-Instruct/blob/main/config.json, and so on for each (Qwen/Qwen2.5-Coder-…,
# deepseek-ai/DeepSeek-R1-Distill-Llama-70B and -Qwen-…B). Not deepseek-r1:8b: that tag has stood for two architectures.
PUBLISHED = {
    "qwen2.5-coder:32b": Architecture("qwen2", 64, 5120, 40, 8, 27648, 152064, 32768),
    "deepseek-r1:70b": Architecture("llama", 80, 8192, 64, 8, 28672, 128256, 131072, rope=64),
    "deepseek-r1:32b": Architecture("qwen2", 64, 5120, 40, 8, 27648, 152064, 131072),
    "qwen2.5-coder:14b": Architecture("qwen2", 48, 5120, 40, 8, 13824, 152064, 32768),
    "deepseek-r1:14b": Architecture("qwen2", 48, 5120, 40, 8, 13824, 152064, 131072),
    "qwen2.5-coder:7b": Architecture("qwen2", 28, 3584, 28, 4, 18944, 152064, 32768),
    "deepseek-r1:7b": Architecture("qwen2", 28, 3584, 28, 4, 18944, 152064, 131072),
    "qwen2.5-coder:1.5b": Architecture("qwen2", 28, 1536, 12, 2, 8960, 151936, 32768, tied=True),
    "deepseek-r1:1.5b": Architecture("qwen2", 28, 1536, 12, 2, 8960, 151936, 131072),
}


def shape(model: Architecture) -> Shape:
    """The shape of ``model`` in Q4_K_M."""
    layers = tuple(_layer(model, number) for number in range(model.layers))
    table = _matrix("Q6_K" if model.tied else "Q4_K", model.width, model.vocabulary)
    # llama.cpp puts the embedding of a tied model on the card once more, as its output matrix.
    output = table if model.tied else _matrix("Q6_K", model.width, model.vocabulary)
    norm = 4 * model.width
    return Shape(
        architecture=model.name, layers=layers, context=model.context, width=model.width, vocabulary=model.vocabulary,
        heads=model.heads, head=model.head, feed_forward=model.feed_forward, output=output + norm + 4 * model.rope,
        embedding=table, source=COMPUTED,
    )  # fmt: skip


def more_bits(layer: int, layers: int) -> bool:
    """Whether the layer is one of those that keep more bits (use_more_bits): the first and last eighth, else each third."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _matrix(kind: str, row: int, rows: int) -> int:
    return row_bytes(kind, row) * rows


def _layer(model: Architecture, number: int) -> Layer:
    width, kv, query = model.width, model.kv_heads * model.head, model.heads * model.head
    better = more_bits(number, model.layers)
    # Models with eight heads to a V ("70B" there: 80 layers) never have it in 4 bits.
    value = "Q6_K" if better else "Q5_K" if model.layers == 80 else "Q4_K"
    weights = (
        _matrix("Q4_K", width, query)
        + _matrix("Q4_K", width, kv)
        + _matrix(value, width, kv)
        + _matrix("Q4_K", query, width)
        + 2 * _matrix("Q4_K", width, model.feed_forward)
        + _matrix("Q6_K" if better else "Q4_K", model.feed_forward, width)
        + 4 * 2 * width  # the two norms
        + (4 * (query + 2 * kv) if model.name == "qwen2" else 0)  # its biases
    )
    return Layer(weights, weights, kv, kv)


def write_computed(file: Path = LOCK) -> list[str]:
    """Write the shapes that are computed into the lock, and no other; the models' names. Raises HoldfastError."""
    names = [name for name, known in shapes(file).items() if known.source == COMPUTED and name in PUBLISHED]
    for name in names:
        write(name, shape(PUBLISHED[name]), file)
    return names


if __name__ == "__main__":
    sys.stdout.write("\n".join(write_computed()) + "\n")
