"""Which model runs on which cards of a machine: pure, from the cards in their slots and the models' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.fit.judge import Demand, Verdict, holds, judge, largest
from holdfast.fit.residents import together
from holdfast.fit.shape import Shape
from holdfast.fit.slot import Board

TARGET = 16384  # tokens: more serves neither Aider nor the browser, and is one line in hosts.yml
USEFUL = 8192  # tokens: where less fits, a smaller model serves better
ROUND = 1024  # what a person reads easily
KINDS = ("q8_0", "q4_0")  # of the cache; the second only where a model would not be possible otherwise
CPU_CONTEXT = 8192


@dataclass(frozen=True)
class Seat:
    """A model and its cards (none: the processor), in the order in which its server is to see them.

    ``largest``: the context that would fit. ``rivals``: of the coder, the cards that would have done as well.
    ``tried``: larger models that fit nowhere.
    """

    model: str
    boards: tuple[Board, ...]
    context: int
    kv_type: str = KINDS[0]
    largest: int = 0
    rivals: tuple[Board, ...] = ()
    tried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """``coder``, ``reasoner``, and all cards in the order in which they get their names: the coder's first. ``turns``: whether
    only one of the two can be loaded at a time."""

    coder: Seat
    reasoner: Seat
    boards: tuple[Board, ...]
    turns: bool = False

    @property
    def unused(self) -> tuple[Board, ...]:
        """Cards that nobody runs on."""
        used = {*self.coder.boards, *self.reasoner.boards}
        return tuple(board for board in self.boards if board not in used)


def choose(boards: Sequence[Board], coders: Mapping[str, Shape], reasoners: Mapping[str, Shape]) -> Choice:
    """The largest coder that fits on one card (on the best of them), and the largest reasoner on the cards that are left, or,
    where that gives a larger one, on all: then the two take turns.

    ``coders``, ``reasoners``: the models for each role with their shapes, at least one of each; the largest are tried first.
    """
    coder = _coder(sorted(boards, key=rank), _by_size(coders))
    rest = sorted((board for board in boards if board not in coder.boards), key=_by_memory)
    reasoner = _reasoner(rest, coder.boards, _by_size(reasoners))
    used = [board for board in reasoner.boards if board not in coder.boards]
    idle = [board for board in rest if board not in used]
    verdicts = {"coder": _verdict(coder, coders), "reasoner": _verdict(reasoner, reasoners)}
    turns = bool(coder.boards and reasoner.boards and not together(verdicts, list(verdicts)))
    return Choice(coder, reasoner, (*coder.boards, *used, *idle), turns)


def _verdict(seat: Seat, models: Mapping[str, Shape]) -> Verdict:
    names = [board.address for board in seat.boards]
    cards = [board.card for board in seat.boards]
    return judge(models[seat.model], cards, seat.context, 1, seat.kv_type, True, names)


def rank(board: Board) -> tuple[object, ...]:
    """Small for a card that is good for the coder: no display, the better link, the faster memory."""
    return (*_worse(board), board.address)


def _worse(board: Board) -> tuple[object, ...]:
    return (board.display, -board.slot.gb_s, -board.slot.width_now, -board.card.bandwidth_gb_s)


def _by_memory(board: Board) -> tuple[object, ...]:
    return (-board.card.free_mib, *_worse(board), board.address)


def _by_size(models: Mapping[str, Shape]) -> list[tuple[str, Shape]]:
    known = [(name, shape) for name, shape in models.items() if not shape.unknown]
    return sorted(known, key=lambda model: -model[1].weights)


def room(shape: Shape, boards: Sequence[Board], kv_type: str) -> int:
    """The largest context up to TARGET that fits, in steps of ROUND; the largest of all where the model has no more."""
    cards = [board.card for board in boards]
    wanted = min(TARGET, shape.context)
    demand = Demand(wanted, 1, kv_type)
    if not boards or holds(shape, cards, demand):
        return wanted if boards else 0
    return largest(shape, cards, demand) // ROUND * ROUND


def _enough(shape: Shape) -> int:
    return min(USEFUL, shape.context)


def _seat(model: str, shape: Shape, boards: Sequence[Board], kv_type: str, context: int, **more: object) -> Seat:
    most = largest(shape, [board.card for board in boards], Demand(context, 1, kv_type))
    return Seat(model, tuple(boards), context, kv_type, most, **more)  # type: ignore[arg-type]


def _coder(boards: Sequence[Board], models: Sequence[tuple[str, Shape]]) -> Seat:
    """One card for it, the best of those with the whole context before others; else as few cards as do, the largest first."""
    tried: list[str] = []
    for model, shape in models if boards else ():
        for kind in KINDS:
            rooms = {board: room(shape, [board], kind) for board in boards}
            fit = [board for board in boards if rooms[board] >= _enough(shape)]
            if fit:
                best = min(fit, key=lambda board: (rooms[board] < TARGET, rank(board)))
                rivals = tuple(board for board in fit if board != best)
                return _seat(model, shape, [best], kind, rooms[best], rivals=rivals, tried=tuple(tried))
            if found := _fewest(shape, sorted(boards, key=_by_memory), kind):
                return _seat(model, shape, found[0], kind, found[1], tried=tuple(tried))
        tried.append(model)
    return Seat(models[-1][0], (), CPU_CONTEXT, tried=tuple(tried))


def _reasoner(rest: Sequence[Board], coders: Sequence[Board], models: Sequence[tuple[str, Shape]]) -> Seat:
    everything = sorted([*rest, *coders], key=_by_memory)
    tried: list[str] = []
    for model, shape in models if everything else ():
        for kind in KINDS:
            if found := _fewest(shape, rest, kind):
                return _seat(model, shape, found[0], kind, found[1], tried=tuple(tried))
            if found := _fewest(shape, everything, kind):
                # In the order of the names, the coder's first, where nothing is lost by it.
                ordered = [board for board in (*coders, *rest) if board in found[0]]
                where = ordered if room(shape, ordered, kind) == found[1] else found[0]
                return _seat(model, shape, where, kind, found[1], tried=tuple(tried))
        tried.append(model)
    return Seat(models[-1][0], (), CPU_CONTEXT, tried=tuple(tried))


def _fewest(shape: Shape, boards: Sequence[Board], kind: str) -> tuple[Sequence[Board], int] | None:
    """The first few of ``boards`` that give the whole context, else those that give the most; None for too little."""
    rooms = {count: room(shape, boards[:count], kind) for count in range(1, len(boards) + 1)}
    if not rooms:
        return None
    most = max(rooms.values())
    count = next(count for count, tokens in rooms.items() if tokens == most)
    return (boards[:count], most) if most >= _enough(shape) else None
