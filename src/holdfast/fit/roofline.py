"""How fast a model can be at most: every token reads the weights in use and the cache once, from memory of known speed."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.fit import memory
from holdfast.fit.cards import Card
from holdfast.fit.shape import Shape


def speed(shape: Shape, cards: Sequence[Card], context: int, kv_type: str) -> float:
    """Tokens a second for one request at ``context`` tokens: 1 / sum over cards of (bytes read / bandwidth).

    0 where nobody said how fast one of the cards' memory is (bandwidth 0).

    Cards with layers work one after another. Of the weights the active ones are read (with experts: those in use), of the
    cache what the layer sees. Qwen2.5-Coder 32B on a 3090: 936e9 / (18508 MiB) = 48.2; 34.7 are reached with that model on
    four 3090s (llama-bench tg128); Llama 70B on two: 22.3, and 14 to 17 are reached (GPU-Benchmarks-on-LLM-Inference).
    """
    if not all(card.bandwidth_gb_s for card in cards):
        return 0.0
    where = memory.split(len(shape.layers), [card.free_mib << 20 for card in cards])
    seconds = 0.0
    for index, card in enumerate(cards):
        read = sum(
            layer.active + (memory.cache(layer, context, 1, kv_type) if context else 0)
            for layer, there in zip(shape.layers, where, strict=False)
            if there == index
        )
        read += shape.output if where[-1] == index else 0
        seconds += read / (card.bandwidth_gb_s * 1e9)
    return 1 / seconds
