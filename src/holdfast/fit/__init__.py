"""Does it fit: a model's shape, cards, settings -> memory, the largest context, the speed limit. Arithmetic only, offline."""

from holdfast.fit.cards import CARDS, Card, by_device
from holdfast.fit.judge import Demand, Gpu, Verdict, judge
from holdfast.fit.shape import Layer, Shape

__all__ = ["CARDS", "Card", "Demand", "Gpu", "Layer", "Shape", "Verdict", "by_device", "judge"]
