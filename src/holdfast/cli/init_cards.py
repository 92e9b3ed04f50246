"""Which kind of card sits in each slot: by its PCI device number, else by what a person says. Nothing is guessed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import HoldfastError
from holdfast.fit.cards import CARDS, by_device
from holdfast.fit.slot import Board, Slot
from holdfast.settings.gpu import Gpu

LEAVE = "none"
# From the person at the terminal: MiB, a key of the table, LEAVE; empty where nobody can be asked.
Ask = Callable[[Slot], str]


@dataclass(frozen=True)
class Known:
    """The cards that can be planned with, and what is to be said about the others."""

    boards: tuple[Board, ...]
    notes: tuple[str, ...]


def identify(
    slots: Sequence[Slot], given: Mapping[str, str], ask: Ask, declared: Mapping[str, Board] | None = None
) -> Known:
    """``given``: kinds, MiB or LEAVE by PCI address (``--card``). ``declared``: what hosts.yml says, by address; it stands unless
    the PCI number says that another card sits there. Raises HoldfastError (code 2) for a card that nobody knows."""
    addresses = [slot.address for slot in slots]
    for address in given:
        if address not in addresses:
            known = ", ".join(slot.short for slot in slots) or "there is none"
            raise HoldfastError(
                f"--card {address}: no NVIDIA card is there", allowed=known, fix="take one of these", code=2
            )
    boards, notes = [], []
    for slot in slots:
        word = given.get(slot.address, "")
        if not word and slot.driver == "vfio-pci":
            notes.append(f"{slot.short}: it is handed to a virtual machine (vfio-pci); it is left out")
            continue
        board = None if word else _as_declared(slot, (declared or {}).get(slot.address))
        if board is None:
            word = word or by_device(slot.device) or ask(slot)
            if not word:
                raise _unknown(slot)
            if word == LEAVE:
                notes.append(f"{slot.short}: left out")
                continue
            board = said(slot, word)
            notes += _doubtful(slot, board)
        boards.append(board)
    return Known(tuple(boards), tuple(notes))


def said(slot: Slot, word: str) -> Board:
    """The card that ``word`` means: MiB of its memory, or a key of the table. Raises HoldfastError (code 2)."""
    if word.isascii() and word.isdecimal() and 1024 <= int(word) <= 1_048_576:
        return board(slot, "", vram_mib=int(word))
    if word not in CARDS:
        near = difflib.get_close_matches(word.lower().replace(" ", "-"), CARDS, n=3, cutoff=0.4) or list(CARDS)[:3]
        allowed = "its memory in MiB (1024 to 1048576), a key of src/holdfast/fit/cards.py, or none"
        raise HoldfastError(
            f"--card {slot.short}={word:.40}", allowed=allowed, fix=f"--card {slot.short}={near[0]}", code=2
        )
    return board(slot, word)


def board(
    slot: Slot, key: str, *, vram_mib: int | None = None, bandwidth: float | None = None, display: bool | None = None
) -> Board:
    """The card with what is said of it; ``display`` None: as the slot says."""
    shown = slot.display if display is None else display
    kind = Gpu(address=slot.address, card=key, vram_mib=vram_mib, bandwidth_gb_s=bandwidth, display=shown).kind("")
    assert kind is not None  # one of the two was given
    return Board(slot, key, kind, vram_mib, bandwidth, shown)


def entry(found: Board, usual: str) -> str | dict[str, object]:
    """The card as it stands under `gpus`; ``usual``: the kind that the machine's cards have where nothing is said."""
    out: dict[str, object] = {"address": found.slot.short}
    if found.key and found.key != usual:
        out["card"] = found.key
    if found.vram_mib is not None:
        out["vram_mib"] = found.vram_mib
    if found.bandwidth_gb_s is not None:
        out["bandwidth_gb_s"] = found.bandwidth_gb_s
    if found.display:
        out["display"] = True
    return found.slot.short if len(out) == 1 else out


def parse(words: Sequence[str]) -> dict[str, str]:
    """``--card 01:00.0=24576`` as {canonical address: word}. Raises HoldfastError (code 2)."""
    out = {}
    for word in words:
        address, equals, value = word.partition("=")
        try:
            out[Gpu.model_validate(address).address] = value
        except ValueError:
            value = ""
        if not (equals and value):
            allowed = "ADDRESS=MIB, ADDRESS=KIND or ADDRESS=none"
            raise HoldfastError(f"--card {word!r:.80}", allowed=allowed, fix="--card 01:00.0=24576", code=2)
    return out


def _as_declared(slot: Slot, declared: Board | None) -> Board | None:
    """``declared``, unless the slot's device number is another card's."""
    if declared is None:
        return None
    seen = by_device(slot.device)
    # One number stands for two sizes (rtx-5060-ti, rtx-5060-ti-16gb); and a memory that a person gave is theirs to know.
    unnumbered = bool(declared.key) and not CARDS[declared.key].devices
    same = declared.key == seen or not declared.key or (unnumbered and declared.key.startswith(f"{seen}-"))
    return declared if not seen or same else None


def _unknown(slot: Slot) -> HoldfastError:
    return HoldfastError(
        f"the card at {slot.short} (PCI id 10de:{slot.device or '?'}) is not in the table of cards: its memory is not known",
        allowed="nothing is guessed",
        fix=f"say how many MiB it has: --card {slot.short}=24576 (or --card {slot.short}={LEAVE} to leave it out)", code=2,
    )  # fmt: skip


def _doubtful(slot: Slot, found: Board) -> list[str]:
    """Where one number stands for two sizes, the other one."""
    others = [key for key, card in CARDS.items() if found.key and key.startswith(f"{found.key}-") and not card.devices]
    return [
        f"{slot.short}: its number stands for {found.card.name} and {CARDS[key].name}; the former is counted on "
        f"(--card {slot.short}={key} says otherwise)"
        for key in others
    ]
