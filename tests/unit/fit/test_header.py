"""GGUF headers: what is read from a right one, and that a wrong one is an error and never more."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fit.gguf_bytes import header, model, text

from holdfast.errors import HoldfastError
from holdfast.fit import CARDS, judge
from holdfast.fit.architectures import KNOWN
from holdfast.fit.header import Array, HeaderError, Truncated, read
from holdfast.fit.reading import shape_of
from holdfast.lab.models import roles

RIGHT = header(*model())


@pytest.mark.parametrize("write", [roles.write_coder, roles.write_reasoner, roles.write_loop])
def test_a_model_as_it_is_written_by_the_library(write: Callable[[Path], None], tmp_path: Path) -> None:
    import gguf

    write(tmp_path / "model.gguf")
    theirs = gguf.GGUFReader(tmp_path / "model.gguf")
    with (tmp_path / "model.gguf").open("rb") as file:
        ours = read(file)
    assert {t.name: t.bytes for t in ours.tensors} == {t.name: int(t.n_bytes) for t in theirs.tensors}
    assert ours.keys["general.architecture"] == "llama" and isinstance(ours.keys["tokenizer.ggml.tokens"], Array)
    shape = shape_of(ours)
    assert len(shape.layers) == 2 and shape.context == 32768 and not shape.unknown
    assert shape.weights + shape.embedding == sum(t.bytes for t in ours.tensors)


def test_only_the_beginning_is_read() -> None:
    source = io.BytesIO(RIGHT + b"\xff" * 1000)
    assert len(read(source).tensors) == 30
    assert source.tell() == len(RIGHT)


@pytest.mark.parametrize("version", [2, 3])
def test_versions_in_use(version: int) -> None:
    assert read(io.BytesIO(header(*model(), version=version))).keys["llama.block_count"] == 4


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(RIGHT) - 1))
def test_every_cut_is_told_as_one(end: int) -> None:
    with pytest.raises(Truncated):
        read(io.BytesIO(RIGHT[:end]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(RIGHT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_wrong_bytes_are_an_error_or_a_header(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(RIGHT)
    for position, byte in changes:
        raw[position] = byte
    try:
        shape_of(read(io.BytesIO(bytes(raw))))
    except HeaderError as error:
        assert "Fix:" in error.render()


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"<html>", "begins with"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "version"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "number of tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "number of keys"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "length of a key"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 99), "type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "array of type 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 60), "length of 'a'"),
        (header({}, [("t", (256,), 77)]), "format 77"),
        (header({}, [("t", (1 << 40, 1 << 40), "F32")]), "dimensions"),
        (header({}, [("t", (0,), "F32")]), "dimensions"),
        (header({}, [("t", (100,), "Q4_K")]), "dimensions"),
        (header({}, [("t", (32,), "F32")] * 2), "one name"),
    ],
)  # fmt: skip
def test_hostile_headers(raw: bytes, word: str) -> None:
    with pytest.raises(HeaderError, match=word):
        read(io.BytesIO(raw))


def test_a_header_that_never_ends_is_given_up() -> None:
    class Endless(io.RawIOBase):
        """GGUF, then a vocabulary of words of a MiB."""

        start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 20)

        def read(self, size: int = -1) -> bytes:
            out, self.start = self.start[:size], self.start[size:]
            return out or (struct.pack("<Q", 1 << 20) if size == 8 else bytes(size))

    with pytest.raises(HeaderError, match="64 MiB"):
        read(Endless())  # type: ignore[arg-type]


def shape(architecture: str = "llama", layers: int = 4, change: object = None, **more: object):  # type: ignore[no-untyped-def]
    keys, tensors = model(architecture, layers, **more)
    if callable(change):
        change(keys, tensors)
    return shape_of(read(io.BytesIO(header(keys, tensors))))


def test_the_numbers_of_a_dense_model() -> None:
    found = shape()
    quarter = 144 / 256
    assert found.layers[0].weights == int((2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 1024) * quarter)
    assert (found.layers[0].k, found.layers[0].v, found.width, found.vocabulary) == (128, 128, 512, 1000)
    # Tied: the embedding is the output once more.
    assert found.output == found.embedding + 4 * 512


def test_experts_are_read_by_the_token_in_part() -> None:
    def experts(keys: dict[str, object], tensors: list[object]) -> None:
        tensors += [(f"blk.{n}.ffn_up_exps.weight", (512, 256, 16), "Q4_K") for n in range(4)]

    found = shape("qwen3moe", change=experts, expert_count=16, expert_used_count=4, expert_feed_forward_length=256)
    layer, size = found.layers[0], 512 * 256 * 16 * 144 // 256
    assert layer.weights - layer.active == size * 3 // 4
    assert (found.experts, found.experts_used, found.feed_forward) == (16, 4, 1024)
    with pytest.raises(HeaderError, match="experts"):
        shape("qwen3moe", change=experts, expert_count=16, expert_used_count=17)


@pytest.mark.parametrize(
    ("architecture", "more", "windows"),
    [
        ("gemma2", {}, [4096, 0, 4096, 0]),
        ("gpt-oss", {"attention__sliding_window": 128}, [128, 0, 128, 0]),
        ("cohere2", {"attention__sliding_window": 512}, [512, 512, 512, 0]),
        ("gemma3", {}, [0, 0, 0, 0]),
        ("gemma3", {"attention__sliding_window": 1024, "attention__sliding_window_pattern": 2}, [1024, 0, 1024, 0]),
        ("olmo2", {"attention__sliding_window": 64, "attention__sliding_window_pattern": [False, True, True, False]},
         [0, 64, 64, 0]),
        ("phi3", {"attention__sliding_window": 2047}, [0, 0, 0, 0]),
        ("llama", {}, [0, 0, 0, 0]),
    ],
)  # fmt: skip
def test_windows(architecture: str, more: dict[str, object], windows: list[int]) -> None:
    assert [layer.window for layer in shape(architecture, **more).layers] == windows


@pytest.mark.parametrize(
    ("architecture", "more", "word"),
    [
        ("deepseek2", {"attention__kv_lora_rank": 512}, "deepseek2"),
        ("mamba", {}, "mamba"),
        ("brand-new", {}, "brand-new"),
        ("llama", {"attention__kv_lora_rank": 512}, "kv_lora_rank"),
        ("qwen3moe", {"nextn_predict_layers": 1}, "nextn"),
        ("gemma3", {"attention__shared_kv_layers": 20}, "shared_kv"),
    ],
)
def test_what_is_not_known_is_never_guessed(architecture: str, more: dict[str, object], word: str) -> None:
    found = shape(architecture, **more)
    assert word in found.unknown and not found.layers


def test_a_vision_part_is_not_known() -> None:
    found = shape(change=lambda keys, tensors: tensors.append(("v.blk.0.attn_q.weight", (256, 256), "F16")))
    assert "v.blk.0" in found.unknown


def rename(keys: dict[str, object], architecture: str, **more: object) -> None:
    keys.clear()
    keys.update(model(architecture, **more)[0])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda k, t: k.pop("general.architecture"), "general.architecture"),
        (lambda k, t: k.pop("llama.block_count"), "block_count"),
        (lambda k, t: k.update({"llama.block_count": 3}), "beyond"),
        (lambda k, t: k.update({"llama.block_count": 5}), "layer 4 has no"),
        (lambda k, t: k.update({"llama.block_count": 100000}), "block_count"),
        (lambda k, t: k.update({"llama.context_length": "many"}), "context_length"),
        (lambda k, t: k.update({"llama.attention.head_count_kv": 3}), "rows"),
        (lambda k, t: k.update({"llama.attention.head_count_kv": [2, 2]}), "head_count_kv"),
        (lambda k, t: t.pop(0), "token_embd"),
        (lambda k, t: rename(k, "gemma3", attention__sliding_window="x"), "sliding_window is 'x'"),
        (lambda k, t: rename(k, "gemma3", attention__sliding_window=float("nan")), "sliding_window is nan"),
        (lambda k, t: rename(k, "gemma3", attention__sliding_window=64, attention__sliding_window_pattern=[True]), "4 layers"),
    ],
)
def test_a_header_that_contradicts_itself(change: object, word: str) -> None:
    with pytest.raises(HoldfastError, match=word):
        shape(change=change)


_WILD = st.one_of(
    st.sampled_from([0, 1, 255, 256, 2**31, 2**32 - 1, 1.5, float("nan"), float("inf"), "", "x"]), st.booleans(),
    st.lists(st.sampled_from([0, 1, 2**31]), max_size=6), st.lists(st.booleans(), min_size=4, max_size=5),
)  # fmt: skip
_KEYS = (
    "attention.sliding_window", "attention.sliding_window_pattern", "attention.key_length", "attention.value_length",
    "attention.head_count", "attention.head_count_kv", "expert_count", "expert_used_count", "expert_feed_forward_length",
    "expert_shared_feed_forward_length", "context_length", "embedding_length", "block_count", "feed_forward_length",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(KNOWN)), st.dictionaries(st.sampled_from(_KEYS), _WILD, max_size=3))
def test_whatever_the_keys_say_it_is_an_error_or_can_be_judged(architecture: str, wild: dict[str, object]) -> None:
    keys, tensors = model(architecture)
    keys |= {f"{architecture}.{key}": value for key, value in wild.items()}
    try:
        found = shape_of(read(io.BytesIO(header(keys, tensors))))
    except HoldfastError:
        assert wild, "the control: nothing is wrong with the others"
        return
    for kind in ("f16", "q8_0"):
        verdict = judge(found, [CARDS["rtx-3090"], CARDS["rtx-3060"]], 16384, kv_type=kind)
        assert (verdict.fits is None) == bool(found.unknown)
