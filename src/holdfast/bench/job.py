"""What is to be measured on a machine: from its settings to the words that its program gets (pure)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.settings.workstation import Workstation

LEAST_RUNS = 5
TOKENS = 128  # of each answer
# The processor takes prompts at a hundredth of a card's speed.
_ON_CARDS, _ON_PROCESSOR = (128, 1024, 4096), (128, 1024)


@dataclass(frozen=True)
class Served:
    """What stands on the machine for one instance: its ``unit``, its ``environment`` (a file), the ``supervisor`` in its
    llama-server's place (the program's path), and the ``release`` of Ollama as its maker packs it (a folder)."""

    unit: str
    environment: str
    supervisor: str
    release: str


@dataclass(frozen=True)
class Wanted:
    """What a person asks for. ``lengths``: of prompts in tokens, () for a choice by the context. ``roles``: () for all.

    ``compare``: rounds of the comparison with a plain Ollama and a bare llama-server, 0 for none.
    """

    runs: int = LEAST_RUNS
    tokens: int = TOKENS
    lengths: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    hand_overs: int = 3
    compare: int = 0
    force: bool = False


def lengths(context: int, tokens: int, cards: bool) -> tuple[int, ...]:
    """Prompt lengths for a context of so many tokens: short, middling, and most of what there is room for."""
    room = context - tokens
    chosen = [length for length in (_ON_CARDS if cards else _ON_PROCESSOR) if length <= room * 0.75]
    most = int(room * 0.9) // 256 * 256
    return tuple([*chosen, most] if cards and most > 4096 else chosen or [max(32, room // 2)])


def pairs(ws: Workstation, roles: Sequence[str]) -> list[tuple[str, str]]:
    """Who takes turns with whom: those that hold the same thing while their models are loaded."""
    held = {role: set(ws.instances[role].held) for role in roles}
    return [(a, b) for a, b in itertools.combinations(roles, 2) if held[a] & held[b]]


def job(ws: Workstation, wanted: Wanted, sudo: Sequence[str], served: Callable[[str], Served]) -> dict[str, Any]:
    """The words for holdfast.bench.onhost. ``sudo``: what goes before a command that must be root. ``served``: how a role is
    served. Raises HoldfastError."""
    unknown = [role for role in wanted.roles if role not in ws.instances]
    if unknown:
        known = ", ".join(ws.instances)
        raise HoldfastError(f"no instance {unknown[0]!r}", allowed=known, fix=f"./holdfast bench {ws.name}", code=2)
    if wanted.runs < LEAST_RUNS:
        allowed = f"{LEAST_RUNS} or more: a median of fewer says little"
        raise HoldfastError(f"--runs {wanted.runs}", allowed=allowed, fix=f"--runs {LEAST_RUNS}", code=2)
    counts = (("--tokens", wanted.tokens, 16), ("--hand-overs", wanted.hand_overs, 0), ("--compare", wanted.compare, 0))
    for name, value, least in counts:
        if value < least:
            raise HoldfastError(f"{name} {value}", allowed=f"{least} or more", fix=f"{name} {max(least, 3)}", code=2)
    roles = [role for role in ws.instances if not wanted.roles or role in wanted.roles]
    if wanted.compare and all(ws.instances[role].gpus for role in roles):
        raise HoldfastError(
            "--compare: every instance has cards, and a second server would need the model's memory on them once more",
            allowed="a machine with an instance without cards", fix=f"./holdfast bench {ws.name}", code=2,
        )  # fmt: skip
    instances = {}
    for role in roles:
        one = ws.instances[role]
        chosen = wanted.lengths or lengths(one.context, wanted.tokens, bool(one.gpus))
        most = one.context - wanted.tokens
        if max(chosen) > most - 64:
            problem = f"a prompt of {max(chosen)} tokens and an answer of {wanted.tokens} for the {role}"
            allowed = f"prompts of {most - 64} tokens at most: its context has {one.context}, and a template takes some"
            raise HoldfastError(problem, allowed=allowed, fix=f"--lengths {most // 2}", code=2)
        instances[role] = {
            "port": one.port, "model": one.model, "gpus": list(one.gpus), "lengths": sorted(chosen), **asdict(served(role)),
        }  # fmt: skip
    return {
        "instances": instances, "pairs": pairs(ws, roles), "runs": wanted.runs, "tokens": wanted.tokens,
        "hand_overs": wanted.hand_overs, "compare": wanted.compare, "force": wanted.force, "sudo": list(sudo),
    }  # fmt: skip
