"""Why a model was put where it is: one line for each role."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.fit.choose import KINDS, Choice, Seat
from holdfast.fit.slot import Board


def reasons(choice: Choice, names: Mapping[str, str]) -> dict[str, str]:
    """``coder`` and ``reasoner``: what each gets, and why. ``names``: the site's, by PCI address."""
    coder, reasoner = choice.coder, choice.reasoner
    return {
        "coder": f"coder: {_what(coder, names)}: {_coder(coder)}{_context(coder)}",
        "reasoner": f"reasoner: {_what(reasoner, names)}: {_reasoner(choice)}{_context(reasoner)}",
    }


def idle(choice: Choice, names: Mapping[str, str]) -> list[str]:
    """One line about the cards that nobody uses; none where there are no such cards."""
    unused = [names[board.address] for board in choice.unused]
    return [f"{', '.join(unused)}: no model of the lock would be a larger one with it; left idle"] if unused else []


def _what(seat: Seat, names: Mapping[str, str]) -> str:
    where = " and ".join(names[board.address] for board in seat.boards)
    return f"{seat.model} on {where or 'the processor'}"


def _larger(seat: Seat) -> str:
    return f"{', '.join(seat.tried)} {'does' if len(seat.tried) == 1 else 'do'} not fit" if seat.tried else ""


def _coder(seat: Seat) -> str:
    larger = _larger(seat)
    if not seat.boards:
        return f"{larger} on any card" if larger else "there is no card"
    said = [larger] if larger else []
    if len(seat.boards) > 1:
        said.append("no single card takes it")
    elif seat.rivals:
        said.append(f"of the {len(seat.rivals) + 1} cards that take it, {_better(seat.boards[0], seat.rivals)}")
    else:
        said.append("the card that takes it")
    return "; ".join(said)


def _better(board: Board, rivals: tuple[Board, ...]) -> str:
    """What speaks for ``board``."""
    if not board.display and any(rival.display for rival in rivals):
        rivals = tuple(rival for rival in rivals if not rival.display)
        said = ["the one without a display" if not rivals else "one without a display"]
    else:
        said = []
    if rivals and all(board.slot.gb_s > rival.slot.gb_s for rival in rivals):
        said.append(f"the one with the better link ({board.slot.link}, not {rivals[0].slot.link})")
    elif rivals and all(board.slot.gb_s >= rival.slot.gb_s for rival in rivals):
        faster = any(board.card.bandwidth_gb_s > rival.card.bandwidth_gb_s for rival in rivals)
        said.append("none has a better link" + (" and this one has the faster memory" if faster else ""))
    elif rivals:
        said.append("the one that takes the whole context")
    return " and ".join(said)


def _reasoner(choice: Choice) -> str:
    seat, coder = choice.reasoner, choice.coder
    larger = _larger(seat)
    if not seat.boards:
        return f"{larger} on any card" if larger else "there is no card"
    said = [larger] if larger else []
    if set(seat.boards) & set(coder.boards):
        turns = "the two take turns" if choice.turns else "both may stay loaded"
        how = "it needs the coder's card, too" if len(seat.boards) > len(coder.boards) else "on the coder's card"
        said.append(f"{how}: {turns}")
    else:
        said.append("the cards that the coder leaves are enough: both may stay loaded")
    return "; ".join(said)


def _context(seat: Seat) -> str:
    if not seat.boards:
        return f"; context {seat.context}"
    smaller = ", the cache in 4 bits so that it fits" if seat.kv_type != KINDS[0] else ""
    return f"; context {seat.context}{smaller} (up to {seat.largest} would fit)"
