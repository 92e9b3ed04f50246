"""Whether a machine's models fit on its cards: part of what makes settings valid."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.components.ollama.options import Instance
from holdfast.errors import HoldfastError, SettingsError
from holdfast.fit import Card, Shape, Verdict, judge, leasing
from holdfast.fit.lock import shape_from_lock, shapes
from holdfast.fit.nearest import nearest
from holdfast.fit.reading import of_file
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

    ``shapes``: of the site's own models; they come before the lock's.
    """

    name: str
    instances: Mapping[str, Instance]
    kinds: Mapping[str, Card | None]
    addresses: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    def shape(self, model: str) -> Shape | None:
        """What is known of ``model``; the site's own word comes first."""
        return self.shapes.get(model) or known_shapes().get(model)

    def advice(self, role: str) -> str:
        """What a person can do where it is not known whether the model fits; empty where nothing helps."""
        one, verdict = self.instances[role], self.verdicts[role]
        if verdict.fits is not None or not one.gpus:
            return ""
        shape = self.shape(one.model)
        if shape is None:
            return (
                f"./holdfast depot update {one.model} reads it from the registry and prints the lines for hosts.yml; or from a "
                f"file of this computer: models: {{shapes: {{{one.model!r}: /path/of/the/model.gguf}}}}"
            )
        if shape.unknown:
            return "none for the arithmetic: load it, and see what ./holdfast bench says of the cards"
        lacking = ", ".join(name for name in one.gpus if self.kinds[name] is None)
        return f"gpus: {{{lacking}: {{address: …, card: KIND}}}}, a key of src/holdfast/fit/cards.py; or its vram_mib"

    @functools.cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict for each instance, by role."""
        return {role: self._verdict(one) for role, one in self.instances.items()}

    def _verdict(self, one: Instance) -> Verdict:
        shape = self.shape(one.model)
        cards = [self.kinds[name] for name in one.gpus]
        return judge(shape, cards, one.context, one.parallel, one.kv_type, one.flash_attention, one.gpus, one.batch)

    @functools.cached_property
    def leases(self) -> leasing.Leases:
        """What each instance holds while its model is loaded: as the settings say, else what the verdicts demand."""
        return leasing.leases(self.verdicts, {role: one.lease for role, one in self.instances.items()})


class FitError(SettingsError):
    """A model that does not fit on its cards; ``asked`` is what was to fit."""

    def __init__(self, message: str, *, where: str, fix: str, asked: Asked) -> None:
        super().__init__(message, where=where, fix=fix)
        self.asked = asked


def asked(ws: Workstation) -> Asked:
    """What is to fit on ``ws``."""
    kinds = {name: gpu.kind(ws.card) for name, gpu in ws.gpus.items()}
    return Asked(ws.name, ws.instances, kinds, ws.addresses, own_shapes(ws.name, ws.models.shapes))


def own_shapes(name: str, given: Mapping[str, str | dict[str, Any]]) -> dict[str, Shape]:
    """The shapes that a site has set (``models.shapes``), by model. Raises SettingsError for a file that is no GGUF."""
    out = {}
    for model, entry in given.items():
        where = f"{name}.models.shapes.{model}"
        try:
            out[model] = shape_from_lock(entry, where) if isinstance(entry, dict) else _of_file(Path(entry).expanduser())
        except (OSError, RuntimeError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            fix = f"put the model's GGUF there, or write what ./holdfast depot update {model} prints"
            raise SettingsError(f"{entry!r:.200} cannot be read: {problem}", where=where, fix=fix) from None
        except HoldfastError as error:
            raise SettingsError(error.message, where=where, allowed=error.allowed, fix=error.fix) from None
    return out


def _of_file(path: Path) -> Shape:
    about = path.stat()
    return _of_stamped(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=32)
def _of_stamped(path: Path, _changed: int, _size: int) -> Shape:
    return of_file(path)


def verdicts(ws: Workstation) -> dict[str, Verdict]:
    """The verdict for every instance, by role."""
    return asked(ws).verdicts


def vram(ws: Workstation, role: str) -> tuple[int, ...]:
    """MiB that must be free on each of the instance's cards before a load, the CUDA context taken off; empty: not known."""
    given = asked(ws)
    return leasing.needs(given.verdicts, given.leases, role)


def with_leases(ws: Workstation, held: leasing.Leases) -> Workstation:
    """``ws`` with what each instance holds."""
    return ws.model_copy(update={
        "instances": {role: one.model_copy(update={"lease": list(held[role])}) for role, one in ws.instances.items()}
    })  # fmt: skip


def require(given: Asked, where: str = "") -> None:
    """Raises FitError for instances that do not fit, with the arithmetic and the nearest settings that do."""
    problems, fixes = [], []
    for role, found in given.verdicts.items():
        if found.fits is False:
            problems.append(f"{given.name}.instances.{role}: {given.instances[role].model} {arithmetic(found)}")
            fixes.append(_fix(role, found, given))
    if problems:
        raise FitError("\n  ".join(problems), where=where, fix="; ".join(fixes), asked=given)


def require_turns(given: Asked, where: str = "") -> None:
    """Raises SettingsError for instances that do not fit together and whose leases would let them try."""
    found = given.verdicts
    # Of what nobody knows a person has said it.
    held = {role: names for role, names in given.leases.items() if found[role].fits is not None}
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
