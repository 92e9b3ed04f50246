"""Whether a machine's models fit on its cards: part of what makes settings valid."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.components.ollama.options import Instance
from holdfast.errors import SettingsError
from holdfast.fit import Card, Shape, Verdict, judge, leasing
from holdfast.fit.lock import shapes
from holdfast.fit.nearest import nearest
from holdfast.fit.residents import together

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
        return judge(shape, cards, one.context, one.parallel, one.kv_type, one.flash_attention, one.gpus, one.batch)

    def verdicts(self) -> dict[str, Verdict]:
        """All of them, by role."""
        return {role: self.verdict(role) for role in self.instances}

    def leases(self, found: Mapping[str, Verdict] | None = None) -> leasing.Leases:
        """What each instance holds while its model is loaded: as the settings say, else what ``found`` (the verdicts) demand."""
        return leasing.leases(found or self.verdicts(), {role: one.lease for role, one in self.instances.items()})


class FitError(SettingsError):
    """A model that does not fit on its cards; ``asked`` is what was to fit."""

    def __init__(self, message: str, *, where: str, fix: str, asked: Asked) -> None:
        super().__init__(message, where=where, fix=fix)
        self.asked = asked


def asked(ws: Workstation) -> Asked:
    """What is to fit on ``ws``."""
    return Asked(ws.name, ws.instances, {name: gpu.kind(ws.card) for name, gpu in ws.gpus.items()}, ws.addresses)


def verdicts(ws: Workstation) -> dict[str, Verdict]:
    """The verdict for every instance, by role."""
    return asked(ws).verdicts()


def vram(ws: Workstation, role: str) -> tuple[int, ...]:
    """MiB that must be free on each of the instance's cards before a load, the CUDA context taken off; empty: not known."""
    given = asked(ws)
    found = given.verdicts()
    return leasing.needs(found, given.leases(found), role)


def with_leases(ws: Workstation) -> Workstation:
    """``ws`` with the leases of those instances for which nobody has set any."""
    held = asked(ws).leases()
    return ws.model_copy(update={
        "instances": {role: one.model_copy(update={"lease": list(held[role])}) for role, one in ws.instances.items()}
    })  # fmt: skip


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
    """Raises SettingsError for instances that do not fit together and whose leases would let them try."""
    found = given.verdicts()
    # Of what nobody knows a person has said it.
    held = {role: names for role, names in given.leases(found).items() if found[role].fits is not None}
    pairs = list(itertools.combinations(held, 2))
    apart = [pair for pair in pairs if pair not in leasing.turns(held)]
    for names in [*apart, *(leasing.residents(held) if len(held) <= leasing.MOST else ())]:
        if together(found, names):
            continue
        said = " and ".join(f"instances.{role}.lease is {_yaml(list(held[role]))}" for role in names)
        raise SettingsError(
            f"{given.name}: {said}, so {_all(names)} would not wait for each other, and their models do not fit together",
            where=where, allowed="leases with a name in common",
            fix="take lease out: they then take turns on the cards that they share",
        )  # fmt: skip


def _all(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


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
