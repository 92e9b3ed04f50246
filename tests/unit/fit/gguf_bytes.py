"""Headers of GGUF files, byte by byte: right ones and wrong ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "MXFP4": 39}


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(given: Any) -> bytes:
    """Type and value of a key: bool, int (u32), float, str, or a list of one of them."""
    if isinstance(given, bool):
        return struct.pack("<I?", 7, given)
    if isinstance(given, int):
        return struct.pack("<II", 4, given)
    if isinstance(given, float):
        return struct.pack("<If", 6, given)
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    kind = struct.unpack("<I", value(given[0])[:4])[0] if given else 4
    return struct.pack("<IIQ", 9, kind, len(given)) + b"".join(value(one)[4:] for one in given)


def header(
    keys: Mapping[str, Any], tensors: Sequence[tuple[str, tuple[int, ...], str | int]], version: int = 3
) -> bytes:
    out = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(keys))]
    out += [text(name) + value(given) for name, given in keys.items()]
    for name, dimensions, kind in tensors:
        number = KINDS[kind] if isinstance(kind, str) else kind
        out.append(text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, number, 0))
    return b"".join(out)


def model(architecture: str = "llama", layers: int = 4, **more: Any) -> tuple[dict[str, Any], list[Any]]:
    """Keys and tensors of a small model; ``more`` are keys below the architecture, a double underscore for a dot."""
    a = architecture
    keys: dict[str, Any] = {
        "general.architecture": a, f"{a}.block_count": layers, f"{a}.context_length": 8192, f"{a}.embedding_length": 512,
        f"{a}.feed_forward_length": 1024, f"{a}.attention.head_count": 8, f"{a}.attention.head_count_kv": 2,
        "tokenizer.ggml.tokens": ["a", "b", "c"],
    }  # fmt: skip
    keys |= {f"{a}.{key.replace('__', '.')}": given for key, given in more.items()}
    tensors: list[Any] = [("token_embd.weight", (512, 1000), "Q4_K"), ("output_norm.weight", (512,), "F32")]
    for layer in range(layers):
        for name, dimensions in (
            ("attn_q", (512, 512)), ("attn_k", (512, 128)), ("attn_v", (512, 128)), ("attn_output", (512, 512)),
            ("ffn_up", (512, 1024)), ("ffn_gate", (512, 1024)), ("ffn_down", (1024, 512)),
        ):  # fmt: skip
            tensors.append((f"blk.{layer}.{name}.weight", dimensions, "Q4_K"))
    return keys, tensors
