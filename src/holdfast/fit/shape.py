"""The shape of a model: everything about it that decides whether it fits, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

COMPUTED = "computed from the published architecture and llama.cpp's Q4_K_M rule"
READ = "read from the GGUF"


@dataclass(frozen=True)
class Layer:
    """One repeating layer.

    ``weights``: bytes on the card. ``active``: bytes of them that one token reads (of the experts only those in use).
    ``k``, ``v``: elements that one token adds to the KV cache. ``window``: tokens that it attends to, 0 for all.
    """

    weights: int
    active: int
    k: int
    v: int
    window: int = 0


@dataclass(frozen=True)
class Shape:
    """A model as the arithmetic sees it.

    ``context``: tokens it was trained for. ``width``: elements of the hidden state. ``vocabulary``: tokens. ``heads``,
    ``head``: query heads and the elements of one. ``feed_forward``: elements between the matrices of a feed-forward (of all
    experts in use together). ``experts``/``experts_used``: 0 where there are none. ``output``: bytes after the last layer,
    on the last card. ``embedding``: bytes that stay in main memory. ``source``: how the numbers were obtained.
    ``unknown``: why the arithmetic does not hold for this model; empty where it does.
    """

    architecture: str
    layers: tuple[Layer, ...]
    context: int
    width: int
    vocabulary: int
    heads: int
    head: int
    feed_forward: int
    output: int
    embedding: int
    experts: int = 0
    experts_used: int = 0
    source: str = READ
    unknown: str = ""

    @property
    def weights(self) -> int:
        """Bytes on the cards, all layers and the output."""
        return sum(layer.weights for layer in self.layers) + self.output
