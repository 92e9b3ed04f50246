"""The header of a GGUF file: what the model is and which tensors it has, without the tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).  A header comes from
strangers: every length is bounded before it is believed, and nothing is kept that the arithmetic does not need.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, Any

from holdfast.errors import HoldfastError
from holdfast.fit import ggml

MOST_BYTES = 64 << 20  # of a header; the largest vocabularies in use take about 12 MiB
_MOST_TENSORS = 1 << 16
_MOST_KEYS = 1 << 12
_MOST_NAME = 1 << 16
_MOST_TEXT = 8 << 20  # a chat template
_MOST_ELEMENTS = 1 << 21  # of an array: the largest vocabularies in use have 262,144 tokens, and twice as many merges
_MOST_KEPT = 1 << 12  # elements of an array whose values are kept: one for each layer
_MOST_SIZE = 1 << 44  # bytes of one tensor
# number -> struct format
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


class HeaderError(HoldfastError):
    """The bytes are no GGUF header that can be read."""


class Truncated(HeaderError):
    """The header goes on after the bytes that were given: more of the file is needed."""


@dataclass(frozen=True)
class Tensor:
    """One tensor: its ``dimensions`` (the first one is the row), its number format, its bytes."""

    name: str
    dimensions: tuple[int, ...]
    kind: str
    bytes: int


@dataclass(frozen=True)
class Array:
    """An array whose values were not kept: how many there are."""

    count: int


@dataclass(frozen=True)
class Header:
    """The keys (large arrays as Array) and the tensors, in the file's order."""

    keys: dict[str, Any]
    tensors: tuple[Tensor, ...]


class _Reader:
    def __init__(self, source: IO[bytes], where: str) -> None:
        self.source, self.where, self.position = source, where, 0

    def take(self, count: int) -> bytes:
        if self.position + count > MOST_BYTES:
            raise self.wrong(f"the header has more than {MOST_BYTES >> 20} MiB")
        parts, missing = [], count
        while missing:
            part = self.source.read(missing)
            if not part:
                raise Truncated(
                    f"the file ends within its header, after {self.position + count - missing} bytes", where=self.where,
                    fix="download the model again, or give more of its beginning",
                )  # fmt: skip
            parts.append(part)
            missing -= len(part)
        self.position += count
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            step = min(count, 1 << 20)
            self.take(step)
            count -= step

    def one(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def length(self, most: int, what: str) -> int:
        value = int(self.one("Q"))
        if value > most:
            raise self.wrong(f"{what} is {value}, at most {most} can be right")
        return value

    def text(self, most: int, what: str) -> str:
        # Broken UTF-8 in a token is common and of no importance here.
        return self.take(self.length(most, f"the length of {what}")).decode("utf-8", "replace")

    def wrong(self, problem: str) -> HeaderError:
        return HeaderError(
            f"no GGUF header: {problem} (at byte {self.position})", where=self.where,
            allowed="GGUF version 2 or 3, little endian", fix="is it the model's own file? download it again",
        )  # fmt: skip


def read(source: IO[bytes], where: str = "GGUF") -> Header:
    """The header that ``source`` (a file, a response, the first bytes in a BytesIO) begins with.

    ``where`` names it in errors. Reads forward only, at most MOST_BYTES. Raises HeaderError; Truncated when the bytes
    given do not hold the whole header.
    """
    reader = _Reader(source, where)
    if (magic := reader.take(4)) != b"GGUF":
        raise reader.wrong(f"it begins with {magic!r} and not with GGUF")
    version = reader.one("I")
    if version not in (2, 3):
        raise reader.wrong(f"version {version:#x}")
    tensors = reader.length(_MOST_TENSORS, "the number of tensors")
    keys: dict[str, Any] = {}
    for _ in range(reader.length(_MOST_KEYS, "the number of keys")):
        name = reader.text(_MOST_NAME, "a key")
        if name in keys:
            raise reader.wrong(f"key {name!r:.60} stands there twice")
        keys[name] = _value(reader, name, reader.one("I"))
    found = [_tensor(reader) for _ in range(tensors)]
    if len({tensor.name for tensor in found}) != len(found):
        raise reader.wrong("two tensors have one name")
    return Header(keys, tuple(found))


def _value(reader: _Reader, name: str, kind: int) -> Any:
    if kind == _TEXT:
        return reader.text(_MOST_TEXT, f"key {name!r:.60}")
    if kind in _SCALARS:
        return reader.one(_SCALARS[kind])
    if kind != _ARRAY:
        raise reader.wrong(f"key {name!r:.60} has type {kind}, which there is not")
    of, count = reader.one("I"), reader.length(_MOST_ELEMENTS, f"the length of {name!r:.60}")
    if of == _TEXT:
        for _ in range(count):
            reader.skip(reader.length(_MOST_TEXT, f"a text in {name!r:.60}"))
        return Array(count)
    if of not in _SCALARS:
        raise reader.wrong(f"key {name!r:.60} is an array of type {of}, which has no use here")
    if count > _MOST_KEPT:
        reader.skip(count * struct.calcsize("<" + _SCALARS[of]))
        return Array(count)
    form = f"<{count}{_SCALARS[of]}"
    return list(struct.unpack(form, reader.take(struct.calcsize(form))))


def _tensor(reader: _Reader) -> Tensor:
    name = reader.text(_MOST_NAME, "a tensor's name")
    count = reader.one("I")
    if not 1 <= count <= 4:
        raise reader.wrong(f"tensor {name!r:.60} has {count} dimensions")
    dimensions = tuple(int(reader.one("Q")) for _ in range(count))
    number, _offset = reader.one("I"), reader.one("Q")
    if number not in ggml.TYPES:
        raise reader.wrong(f"tensor {name!r:.60} has number format {number}, which is not known here")
    kind, block, size = ggml.TYPES[number]
    rows = 1
    for dimension in dimensions[1:]:
        rows *= dimension
    if min(dimensions) < 1 or dimensions[0] * rows > _MOST_SIZE or dimensions[0] % block:
        raise reader.wrong(f"tensor {name!r:.60} has the dimensions {list(dimensions)} in {kind}")
    return Tensor(name, dimensions, kind, rows * (dimensions[0] // block) * size)
