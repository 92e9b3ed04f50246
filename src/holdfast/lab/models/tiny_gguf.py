"""Writes a chain as a GGUF that llama-server loads: a few megabytes, the same bytes every time, no training data.

Embeddings are one-hot, attention and feed-forward add nothing (their output matrices are zero), so the hidden state is
the last token, and the output matrix is the chain's transition table.  The answer is the same at every temperature.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from holdfast.lab.models.chain import Vocabulary

CONTEXT = 32768  # tokens; a character of a prompt is a token here, and Aider's prompts reach 8,000
# Attention is what reading a long prompt costs: as little of it as there can be, one head of 32 values (a quantized KV cache
# works in blocks of 32). Feed-forward is what a generated token costs: enough of it for a generation to take its time.
_LAYERS, _HEADS, _HEAD, _FEED_FORWARD = 2, 1, 32, 512
_LOGIT = 6.0  # times sqrt(width) after the norm: far beyond any sampling temperature
_BOS, _EOS, _UNKNOWN = 1, 2, 0


def write(path: Path, name: str, vocabulary: Vocabulary, template: str) -> None:
    """Writes the model to `path`.  `template` is the Jinja chat template that Ollama renders."""
    width = len(vocabulary.tokens)  # n_embd == n_vocab: one-hot
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, name, width)
    _tokenizer(writer, vocabulary, template)
    _tensors(writer, vocabulary, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, name: str, width: int) -> None:
    writer.add_name(name)
    writer.add_description("deterministic lab model, no training data")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(width)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary, template: str) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types([int(kind) for kind in vocabulary.kinds])
    writer.add_bos_token_id(_BOS)
    writer.add_eos_token_id(_EOS)
    writer.add_unk_token_id(_UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(template)


def _tensors(writer: gguf.GGUFWriter, vocabulary: Vocabulary, width: int) -> None:
    successor = np.full(width, vocabulary.fallback)
    for token, following in vocabulary.follows.items():
        successor[token] = following
    output = np.zeros((width, width), np.float32)
    output[successor, np.arange(width)] = _LOGIT
    ones = np.ones(width, np.float32)
    narrow = np.zeros((_HEADS * _HEAD, width), np.float32)
    widen = np.zeros((_FEED_FORWARD, width), np.float32)
    writer.add_tensor("token_embd.weight", np.eye(width, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(_LAYERS):
        for part, matrix in (
            ("attn_norm", ones),
            ("ffn_norm", ones),
            ("attn_q", narrow),
            ("attn_k", narrow),
            ("attn_v", narrow),
            ("attn_output", np.ascontiguousarray(narrow.T)),
            ("ffn_gate", widen),
            ("ffn_up", widen),
            ("ffn_down", np.ascontiguousarray(widen.T)),
        ):
            writer.add_tensor(f"blk.{layer}.{part}.weight", matrix)
