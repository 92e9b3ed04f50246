"""From a GGUF's header to the model's shape: bytes by layer, and what each layer keeps of a token."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path
from typing import Any

from holdfast.fit.architectures import foreign, windows
from holdfast.fit.header import Array, Header, HeaderError, Tensor, read
from holdfast.fit.shape import READ, Layer, Shape

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
# What there is besides the layers; more than that (a vision part) is no model that this arithmetic knows.
_OUTSIDE = {
    "token_embd.weight", "output.weight", "output.bias", "output_norm.weight", "output_norm.bias", "rope_freqs.weight",
    "rope_factors_long.weight", "rope_factors_short.weight",
}  # fmt: skip
_MOST_LAYERS = 512  # LLAMA_MAX_LAYERS


def shape_of(header: Header, where: str = "GGUF") -> Shape:
    """The shape of the model that ``header`` describes. Raises HeaderError for one that contradicts itself.

    A model whose memory is not known here has ``unknown`` set, and no layers.
    """
    facts = _Facts(header, where)
    problem = foreign(facts.architecture, header.keys)
    strange = [t.name for t in header.tensors if not _BLOCK.match(t.name) and t.name not in _OUTSIDE]
    if not problem and strange:
        problem = f"{len(strange)} tensors are of a part that is not known here, {strange[0]!r:.60} the first"
    if problem:
        return Shape(facts.architecture, (), 0, 0, 0, 0, 0, 0, 0, 0, unknown=problem)
    layers, used = facts.layers(), facts.number("expert_used_count", 0)
    by_name = {tensor.name: tensor for tensor in header.tensors}
    table = by_name.get("token_embd.weight")
    if table is None:
        raise facts.wrong("token_embd.weight is missing")
    outside = sum(t.bytes for t in header.tensors if t.name in _OUTSIDE and t is not table)
    # Without a matrix of its own the output is the embedding, once more, on the card (TENSOR_DUPLICATED).
    outside += 0 if "output.weight" in by_name else table.bytes
    feed = facts.most("feed_forward_length")
    experts = facts.number("expert_count", 0)
    if experts:
        shared = facts.number("expert_shared_feed_forward_length", 0)
        feed = max(facts.number("expert_feed_forward_length", feed) * used + shared, 0 if used else feed)
    return Shape(
        architecture=facts.architecture, layers=layers, context=facts.number("context_length"), width=facts.width,
        vocabulary=table.dimensions[-1], heads=facts.heads, head=max(facts.key, facts.value), feed_forward=feed,
        output=outside, embedding=table.bytes, experts=experts, experts_used=used if experts else 0, source=READ,
    )  # fmt: skip


def of_file(path: Path) -> Shape:
    """The shape of the model in ``path``. Raises OSError (also for what is no ordinary file: it might never begin) and
    HeaderError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file")
    with path.open("rb") as source:
        return shape_of(read(source, str(path)), str(path))


class _Facts:
    """The header's numbers, each checked to be a number that can be right."""

    def __init__(self, header: Header, where: str) -> None:
        self.header, self.where = header, where
        named = header.keys.get("general.architecture")
        if not isinstance(named, str) or not named:
            raise self.wrong("general.architecture is missing")
        self.architecture = named

    def wrong(self, problem: str) -> HeaderError:
        return HeaderError(
            f"a GGUF that contradicts itself: {problem}", where=self.where, fix="download the model again"
        )

    def raw(self, key: str) -> Any:
        return self.header.keys.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int | None = None) -> int:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise self.wrong(f"{self.architecture}.{key} is {value!r:.60}")
        return value

    def each(self, key: str, default: int | None = None) -> list[int]:
        """``key`` for every layer: one number for all, or a list of them."""
        value = self.raw(key)
        if isinstance(value, Array):
            raise self.wrong(f"{self.architecture}.{key} has {value.count} elements")
        if not isinstance(value, list):
            return [self.number(key, default)] * self.count
        if len(value) < self.count or any(not isinstance(one, int) or one < 0 for one in value):
            raise self.wrong(f"{self.architecture}.{key} is {value!r:.60}")
        return value[: self.count]

    def most(self, key: str) -> int:
        return max(self.each(key, 0))

    @property
    def count(self) -> int:
        count = self.number("block_count")
        if not 1 <= count <= _MOST_LAYERS:
            raise self.wrong(f"{self.architecture}.block_count is {count}")
        return count

    @property
    def width(self) -> int:
        return self.number("embedding_length")

    @property
    def heads(self) -> int:
        return max(self.most("attention.head_count"), 1)

    @property
    def key(self) -> int:
        return self.number("attention.key_length", self.width // self.heads)

    @property
    def value(self) -> int:
        return self.number("attention.value_length", self.width // self.heads)

    def layers(self) -> tuple[Layer, ...]:
        """The layers: their tensors' bytes (of experts those in use as active), K and V checked against the matrices."""
        count, groups = self.count, self.each("attention.head_count_kv", self.heads)
        tensors: list[list[Tensor]] = [[] for _ in range(count)]
        for tensor in self.header.tensors:
            if found := _BLOCK.match(tensor.name):
                if int(found[1]) >= count:
                    raise self.wrong(f"tensor {tensor.name!r:.60} is of a layer beyond the {count}")
                tensors[int(found[1])].append(tensor)
        try:
            seen = windows(self.architecture, count, self.header.keys)
        except ValueError as error:
            raise self.wrong(str(error)) from None
        out = []
        for number, mine in enumerate(tensors):
            k, v = groups[number] * self.key, groups[number] * self.value
            self._same(number, mine, "attn_k.weight", k)
            self._same(number, mine, "attn_v.weight", v)
            active = sum(self._active(tensor) for tensor in mine)
            out.append(Layer(sum(t.bytes for t in mine), active, k, v, seen[number]))
        return tuple(out)

    def _active(self, tensor: Tensor) -> int:
        """Bytes that one token reads: of a tensor of experts (``…_exps``) the share in use."""
        experts = self.number("expert_count", 0)
        if "_exps." not in tensor.name or not experts:
            return tensor.bytes
        used = self.number("expert_used_count", 0)
        if not 1 <= used <= experts:
            raise self.wrong(f"{used} of {experts} experts are in use")
        return tensor.bytes * used // experts

    def _same(self, number: int, tensors: list[Tensor], name: str, elements: int) -> None:
        for tensor in tensors:
            if tensor.name == f"blk.{number}.{name}" and tensor.dimensions[-1] != elements:
                raise self.wrong(f"{tensor.name} has {tensor.dimensions[-1]} rows, its heads have {elements}")
        if not any(t.name in (f"blk.{number}.{name}", f"blk.{number}.attn_qkv.weight") for t in tensors):
            raise self.wrong(f"layer {number} has no {name}")
