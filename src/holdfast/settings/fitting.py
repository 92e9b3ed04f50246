"""Whether a machine's models fit on its cards: part of what makes settings valid."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.components.ollama.options import Instance
from holdfast.errors import SettingsError
from holdfast.fit import Card, Shape, Verdict, judge
from holdfast.fit.lock import shapes
from holdfast.fit.nearest import nearest
from holdfast.fit.residents import exclusive

if TYPE_CHECKING:
    from holdfast.settings.workstation import Workstation


@functools.cache
def known_shapes() -> dict[str, Shape]:
    """The shapes of locks/models.yml, read once."""
    return shapes()


@dataclass(frozen=True)
class Asked:
    """What is to fit: the instances of ``name`` by role, its cards' kinds (None: not known) and PCI addresses by name.

    ``shapes``: of models that are in no lock.
    """

    name: str
    instances: Mapping[str, Instance]
    kinds: Mapping[str, Card | None]
    addresses: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    def verdict(self, role: str) -> Verdict:
        """The verdict for one instance."""
        one = self.instances[role]
        shape = self.shapes.get(one.model) or known_shapes().get(one.model)
        cards = [self.kinds[name] for name in one.gpus]
        return judge(shape, cards, one.context, one.parallel, one.kv_type, one.flash_attention, one.gpus)

    def verdicts(self) -> dict[str, Verdict]:
        """All of them, by role."""
        return {role: self.verdict(role) for role in self.instances}


class FitError(SettingsError):
    """A model that does not fit on its cards; ``asked`` is what was to fit."""

    def __init__(self, message: str, *, where: str, fix: str, asked: Asked) -> None:
        super().__init__(message, where=where, fix=fix)
        self.asked = asked


def asked(ws: Workstation) -> Asked:
    """What is to fit on ``ws``."""
    return Asked(ws.name, ws.instances, {name: gpu.kind(ws.card) for name, gpu in ws.gpus.items()}, ws.addresses)


def verdicts(ws: Workstation) -> dict[str, Verdict]:
    """The verdict for every instance, by role. MiB needed on each of its cards: ``verdicts(ws)[role].needed``."""
    return asked(ws).verdicts()


def require(given: Asked, where: str = "") -> None:
    """Raises FitError for instances that do not fit, with the arithmetic and the nearest settings that do."""
    problems, fixes = [], []
    for role, found in given.verdicts().items():
        if found.fits is False:
            problems.append(f"{given.name}.instances.{role}: {given.instances[role].model} {arithmetic(found)}")
            fixes.append(_fix(role, found, given))
    if problems:
        raise FitError("\n  ".join(problems), where=where, fix="; ".join(fixes), asked=given)


def require_turns(given: Asked, where: str = "") -> None:
    """Raises SettingsError for instances that cannot be loaded at the same time and whose leases would let them try."""
    found = given.verdicts()
    for one, other in exclusive(found):
        if None in (found[one].fits, found[other].fits):
            continue  # nobody knows, and a person has said it
        leases = {role: given.instances[role].held for role in (one, other)}
        if not set(leases[one]) & set(leases[other]):
            said = " and ".join(f"instances.{role}.lease is {_yaml(list(names))}" for role, names in leases.items())
            raise SettingsError(
                f"{given.name}: {said}, so {one} and {other} would not wait for each other, and their models do not fit together",
                where=where, allowed="leases with a name in common", fix="take lease out: they then take turns on their gpus",
            )  # fmt: skip


def arithmetic(found: Verdict) -> str:
    """Why it does not fit, in numbers."""
    if found.reason:
        return f"cannot be loaded: {found.reason}"
    parts = [
        f"on {gpu.name} ({gpu.card.name}): weights {gpu.weights:,.0f} + KV cache {gpu.kv:,.0f} + buffers {gpu.buffers:,.0f}"
        f" + CUDA context {gpu.context:,.0f} + margin {gpu.margin:,.0f} + driver {gpu.reserve:,.0f} = "
        f"{gpu.card.vram_mib - gpu.spare:,.0f} of {gpu.card.vram_mib:,} MiB, {-gpu.spare:,.0f} too much"
        for gpu in found.gpus
        if gpu.spare < 0
    ]
    tokens = f"{found.demand.context} tokens" + (f" x {found.demand.parallel}" if found.demand.parallel > 1 else "")
    return f"with {tokens} in {found.demand.kv_type} does not fit: " + "; ".join(parts)


def _fix(role: str, found: Verdict, given: Asked) -> str:
    """The nearest settings that fit, as they stand in hosts.yml."""
    kinds = {name: card for name, card in given.kinds.items() if card is not None}
    own = {name: kinds[name] for name in found.on}
    free = {name: card for name, card in kinds.items() if name not in own}
    change = nearest(found.shape, own, found.demand, free) if found.shape else {}
    if not change:
        return f"instances.{role}: a smaller model, or one more card (no other setting makes {given.instances[role].model} fit)"
    return f"instances.{role}: {{{', '.join(f'{key}: {_yaml(value)}' for key, value in change.items())}}}"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
