"""`init --update`: what changes in a block of hosts.yml when the machine's cards have changed, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.cli.init_block import ROLES, candidates, differing, named, wanted
from holdfast.cli.init_cards import board, entry
from holdfast.cli.init_edit import drop, put
from holdfast.components.ollama.options import Instance
from holdfast.errors import HoldfastError
from holdfast.fit import Card, Shape, judge
from holdfast.fit.choose import Seat, choose
from holdfast.fit.judge import Demand, holds
from holdfast.fit.nearest import nearest
from holdfast.fit.reasons import reasons
from holdfast.fit.slot import Board, Slot
from holdfast.settings.fitting import asked
from holdfast.settings.workstation import Workstation


@dataclass(frozen=True)
class Change:
    """One value to be set (``value`` None: taken out) at ``path`` within the block."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True)
class Proposal:
    """``changes`` to the block, and why; none where the block is right as it is."""

    changes: tuple[Change, ...]
    why: tuple[str, ...]

    def applied(self, text: str, name: str) -> str:
        """``text`` of hosts.yml with the changes in it. Raises Unsafe where it is written in a way that forbids that."""
        for change in self.changes:
            path = (name, *change.path)
            text = drop(text, path) if change.value is None else put(text, path, change.value)
        return text


def declared(ws: Workstation, raw: Mapping[str, Any], slots: Sequence[Slot]) -> dict[str, Board]:
    """What hosts.yml says of the cards that are in ``slots``, by address: only those of which it says enough."""
    out = {}
    for name, gpu in ws.gpus.items():
        slot = next((slot for slot in slots if slot.address == gpu.address), None)
        key = gpu.card or ("" if gpu.vram_mib else ws.card)
        if slot is None or not (key or gpu.vram_mib):
            continue
        mapping = (raw.get("gpus") or {}).get(name)
        said = isinstance(mapping, Mapping) and "display" in mapping
        # A person's word about the display stands; else a monitor that is connected is one.
        display = gpu.display if said else slot.monitor is True
        out[gpu.address] = board(slot, key, vram_mib=gpu.vram_mib, bandwidth=gpu.bandwidth_gb_s, display=display)
    return out


def propose(ws: Workstation, raw: Mapping[str, Any], boards: Sequence[Board]) -> Proposal:
    """What has to change in the block ``raw``, whose settings are ``ws``, for a machine with ``boards``.

    Raises HoldfastError where an instance has to move and it cannot be told where to.
    """
    gpus, changes, why, grown = _gpus(ws, raw, boards)
    moves, reasons_ = _instances(ws, raw, gpus, grown)
    return Proposal((*changes, *moves), (*why, *reasons_))


def _gpus(
    ws: Workstation, raw: Mapping[str, Any], boards: Sequence[Board]
) -> tuple[dict[str, Board], list[Change], list[str], bool]:
    """The cards by name, what changes under `gpus` and why, and whether there are more cards than before."""
    here = {found.address: found for found in boards}
    kept = {name: here[gpu.address] for name, gpu in ws.gpus.items() if gpu.address in here}
    gone = [name for name in ws.gpus if name not in kept]
    new = [found for found in boards if found.address not in {gpu.address for gpu in ws.gpus.values()}]
    # The name of a card that is gone goes to one that came: what refers to it stays right.
    names = [*gone[: len(new)], *named([*ws.gpus], max(0, len(new) - len(gone)))]
    added = dict(zip(names, new, strict=True))
    changes, why = [], []
    for name, found in {**kept, **added}.items():
        change, sentence = _one(ws, raw, name, found)
        changes += change
        why += [f"{name}: {sentence}"] if change else []
    for name in gone[len(new) :]:
        changes.append(Change(("gpus", name), None))
        why.append(f"{name}: no card is at {ws.gpus[name].address.removeprefix('0000:')} any more")
    order = [name for name in ws.gpus if name in kept or name in added]
    everything = {**kept, **added}
    return {name: everything[name] for name in [*order, *names[len(gone) :]]}, changes, why, len(new) > len(gone)


def _one(ws: Workstation, raw: Mapping[str, Any], name: str, found: Board) -> tuple[list[Change], str]:
    """What changes at one card, and why."""
    path = ("gpus", name)
    before = ws.gpus.get(name)
    if before is None or before.address != found.address:
        what = "new" if before is None else f"in the place of the one at {before.address.removeprefix('0000:')}"
        return [Change(path, entry(found, ws.card))], f"{what}: {found.words} at {found.slot.short}"
    key = before.card or ("" if before.vram_mib else ws.card)
    there = raw["gpus"][name]
    if (key, before.vram_mib, before.bandwidth_gb_s) != (found.key, found.vram_mib, found.bandwidth_gb_s):
        display = {"display": before.display} if isinstance(there, Mapping) and "display" in there else {}
        new = entry(found, ws.card)
        if display:
            new = {**(new if isinstance(new, dict) else {"address": new}), **display}
        what = f"another card than the {key} that was there" if key else "now known"
        return [Change(path, new)], f"{what}: {found.words}"
    if found.display and not before.display:
        if isinstance(there, Mapping):
            return [Change((*path, "display"), True)], "a display is connected to it"
        return [Change(path, entry(found, ws.card))], "a display is connected to it"
    return [], ""


def _instances(
    ws: Workstation, raw: Mapping[str, Any], gpus: Mapping[str, Board], grown: bool
) -> tuple[list[Change], list[str]]:
    """What changes under `instances`, and why: as little as makes everything fit; with more cards, the best for all of them."""
    models = {role: candidates(role) for role in ROLES}

    @functools.cache
    def best() -> tuple[dict[str, Seat], dict[str, str]]:
        choice = choose(list(gpus.values()), models["coder"], models["reasoner"])
        return dict(zip(ROLES, (choice.coder, choice.reasoner), strict=True)), reasons(choice, at)

    at = {found.address: name for name, found in gpus.items()}
    cards = {name: found.card for name, found in gpus.items()}
    shapes = asked(ws).shape
    changes: list[Change] = []
    why = []
    for role, one in ws.instances.items():
        explicit = (raw.get("instances") or {}).get(role) or {}
        ours = role in ROLES and one.model in models[role]
        kept = [name for name in one.gpus if name in cards]
        fits = kept == one.gpus and _fits(shapes(one.model), one, kept, cards) is not False
        if not (grown and ours) and (fits or not one.gpus):
            continue
        if ours and not grown and kept and _fits(shapes(one.model), one, kept, cards):
            new, reason = {"gpus": kept}, f"{role}: it fits on the cards that are left"
        elif ours:
            seats, said = best()
            new, reason = wanted(seats[role], at), said[role]
            if one.gpus:
                # A context or a cache that a person has set is kept where it fits.
                new |= {key: getattr(one, key) for key in ("context", "kv_type") if key in explicit}
        else:
            new, reason = {"gpus": kept}, f"{role}: {one.model} is kept"
        settled = _settled(role, one, new, cards, shapes)
        moves = differing(one.model_dump(), settled)
        changes += [Change(("instances", role, key), value) for key, value in moves.items()]
        why += [reason] if moves else []
    return changes, why


def _fits(shape: Shape | None, one: Instance, names: Sequence[str], cards: Mapping[str, Card]) -> bool | None:
    kinds = [cards[name] for name in names]
    return judge(shape, kinds, one.context, one.parallel, one.kv_type, one.flash_attention, batch=one.batch).fits


def _settled(
    role: str, one: Instance, new: Mapping[str, Any], cards: Mapping[str, Card], shapes: Callable[[str], Shape | None]
) -> dict[str, Any]:
    """``new``, with what else has to change so that it fits. Raises HoldfastError."""
    after = one.model_copy(update=dict(new))
    shape = shapes(after.model)
    own = {name: cards[name] for name in after.gpus}
    free = {name: card for name, card in cards.items() if name not in own}
    problem = HoldfastError(
        f"instances.{role}: {one.model} has no card that it fits on any more", where="hosts.yml",
        fix=f"give instances.{role} another model or other gpus (there are: {', '.join(cards)}), then run it again", code=2,
    )  # fmt: skip
    if not own:
        raise problem
    if shape is None or shape.unknown:
        return dict(new)
    demand = Demand(after.context, after.parallel, after.kv_type, after.flash_attention, after.batch)
    if holds(shape, list(own.values()), demand):
        return dict(new)
    change = nearest(shape, own, demand, free)
    if not change:
        raise problem
    return {**new, **change}
