"""Whether a machine's models fit on its cards: part of what makes settings valid."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.components.ollama.options import Instance
from holdfast.errors import SettingsError
from holdfast.fit import Card, Shape, Verdict, judge
from holdfast.fit.lock import shapes
from holdfast.fit.nearest import nearest

if TYPE_CHECKING:
    from holdfast.settings.workstation import Workstation


@functools.cache
def known_shapes() -> dict[str, Shape]:
    """The shapes of locks/models.yml, read once."""
    return shapes()


class FitError(SettingsError):
    """A model that does not fit on its cards; ``instances`` and ``cards`` are what was asked."""

    def __init__(
        self, message: str, *, where: str, fix: str, instances: Mapping[str, Instance], cards: Mapping[str, Card | None]
    ) -> None:
        super().__init__(message, where=where, fix=fix)
        self.instances, self.cards = instances, cards


def cards(ws: Workstation) -> dict[str, Card | None]:
    """What kind each of the machine's cards is, by the site's name for it."""
    return {name: gpu.kind(ws.card) for name, gpu in ws.gpus.items()}


def verdict(instance: Instance, kinds: Mapping[str, Card | None], shape: Shape | None = None) -> Verdict:
    """The verdict for one instance; ``shape`` comes from the lock where none is given."""
    found = known_shapes().get(instance.model) if shape is None else shape
    return judge(
        found, [kinds[name] for name in instance.gpus], instance.context, instance.parallel, instance.kv_type,
        instance.flash_attention, instance.gpus,
    )  # fmt: skip


def verdicts(ws: Workstation) -> dict[str, Verdict]:
    """The verdict for every instance, by role. MiB needed on each of its cards: ``verdicts(ws)[role].needed``."""
    kinds = cards(ws)
    return {role: verdict(instance, kinds) for role, instance in ws.instances.items()}


def require(instances: Mapping[str, Instance], kinds: Mapping[str, Card | None], name: str, where: str = "") -> None:
    """Raises FitError for instances that do not fit, with the arithmetic and the nearest settings that do."""
    problems, fixes = [], []
    for role, instance in instances.items():
        found = verdict(instance, kinds)
        if found.fits is False:
            problems.append(f"{name}.instances.{role}: {instance.model} {arithmetic(found)}")
            fixes.append(fix(role, instance, found, kinds))
    if problems:
        raise FitError("\n  ".join(problems), where=where, fix="; ".join(fixes), instances=instances, cards=kinds)


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
    asked = f"{found.demand.context} tokens" + (f" x {found.demand.parallel}" if found.demand.parallel > 1 else "")
    return f"with {asked} in {found.demand.kv_type} does not fit: " + "; ".join(parts)


def fix(role: str, instance: Instance, found: Verdict, kinds: Mapping[str, Card | None]) -> str:
    """The nearest settings that fit, as they stand in hosts.yml."""
    own = {name: kinds[name] for name in instance.gpus}
    usable = {name: card for name, card in own.items() if card is not None}
    free = {name: card for name, card in kinds.items() if card is not None and name not in own}
    change = nearest(found.shape, usable, found.demand, free) if found.shape else {}
    if not change:
        return f"instances.{role}: a smaller model, or one more card (nothing else makes {instance.model} fit)"
    return f"instances.{role}: {{{', '.join(f'{key}: {_yaml(value)}' for key, value in change.items())}}}"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
