"""A machine's block of hosts.yml, from its cards: profile, names, and what differs from the profile; each with its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.cli.init_cards import entry
from holdfast.cli.init_edit import flow
from holdfast.components.ollama.options import Instance
from holdfast.errors import HoldfastError
from holdfast.fit import Shape
from holdfast.fit.choose import Seat, choose
from holdfast.fit.lock import models_for
from holdfast.fit.reasons import idle, reasons
from holdfast.fit.slot import Board
from holdfast.settings.fitting import known_shapes
from holdfast.settings.loader import profiles

NAMES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
ROLES = ("coder", "reasoner")
WIDTH = 110


@dataclass(frozen=True)
class Draft:
    """``gpus``: the cards by name. ``instances``: what differs from the profile, by role. ``said``: the reasons, by role;
    ``notes``: what else there is to say."""

    profile: str
    gpus: Mapping[str, Board]
    instances: Mapping[str, Mapping[str, Any]]
    require_gpu: bool | None
    said: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def usual(self) -> str:
        """The kind that a card has where nothing is said of it."""
        return str(profiles()[self.profile].get("card", ""))


def candidates(role: str) -> dict[str, Shape]:
    """The models of profiles and of the lock for this role whose shape is in the lock. Raises HoldfastError for none."""
    named = [
        profile["instances"][role]["model"] for profile in profiles().values() if role in profile.get("instances", {})
    ]
    found = {name: known_shapes()[name] for name in dict.fromkeys([*named, *models_for(role)]) if name in known_shapes()}
    if not found:
        raise HoldfastError(
            f"no {role} has its shape in locks/models.yml", fix="git diff locks/models.yml"
        )
    return found


def draft(boards: Sequence[Board]) -> Draft:
    """The best that can be made of ``boards``."""
    choice = choose(boards, candidates("coder"), candidates("reasoner"))
    # With no model on any card there is nothing for a driver to do.
    used = choice.boards if choice.coder.boards or choice.reasoner.boards else ()
    profile = _nearest(len(used))
    own = _names(profiles()[profile])
    gpus = dict(zip(named([], len(used), own), used, strict=True))
    at = {board.address: name for name, board in gpus.items()}
    instances = {}
    for role, seat in zip(ROLES, (choice.coder, choice.reasoner), strict=True):
        there = profiles()[profile]["instances"][role]
        if change := differing({key: there.get(key, _default(key)) for key in wanted(seat, at)}, wanted(seat, at)):
            instances[role] = change
    cpu = not (choice.coder.boards and choice.reasoner.boards)
    require = False if cpu and profiles()[profile].get("require_gpu", True) else None
    notes = (
        idle(choice, at)
        if used
        else [f"{b.slot.short}: {b.words}: too small for any model of the lock" for b in boards]
    )
    return Draft(profile, gpus, instances, require, reasons(choice, at), tuple(notes))


def wanted(seat: Seat, names: Mapping[str, str]) -> dict[str, Any]:
    """``seat`` as settings of an instance."""
    gpus = [names[board.address] for board in seat.boards]
    return {"model": seat.model, "gpus": gpus, "context": seat.context, "kv_type": seat.kv_type}


def differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``wanted`` is not there already."""
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def named(taken: Sequence[str], count: int, own: Sequence[str] = ()) -> list[str]:
    """``count`` names for cards that are not ``taken``: a profile's ``own`` ones first, then by number."""
    start = len(taken) + len(own)
    numbered = [*NAMES[start:], *(f"card{number}" for number in range(9, 9 + count + len(taken)))]
    return [name for name in dict.fromkeys([*own, *numbered]) if name not in taken][:count]


def block(found: Draft, connection: Mapping[str, Any]) -> dict[str, Any]:
    """What hosts.yml says of the machine; ``connection``: local or ssh, and login_user."""
    out: dict[str, Any] = {"profile": found.profile, **connection}
    if found.require_gpu is not None:
        out["require_gpu"] = found.require_gpu
    if found.gpus:
        out["gpus"] = {name: entry(board, found.usual) for name, board in found.gpus.items()}
    if found.instances:
        out["instances"] = {role: dict(change) for role, change in found.instances.items()}
    # A join key is the person's to make; until then the machine is set up without the tailnet.
    out["tailscale"] = {"enabled": False}
    return out


def text(name: str, found: Draft, made: Mapping[str, Any]) -> str:
    """``made`` as YAML, each choice with its reason."""
    lines = [f"{name}:"]
    for key, value in made.items():
        if key == "gpus":
            lines.append("  gpus:  # by PCI address, which stays while a card stays in its slot")
            lines += [f"    {gpu}: {flow(one)}  # {found.gpus[gpu].words}" for gpu, one in value.items()]
        elif key == "instances":
            lines.append("  instances:")
            lines += [f"    {role}: {flow(change)}" for role, change in value.items()]
        elif key == "profile":
            lines.append(f"  profile: {flow(value)}  # group_data/{value}.py; below stands what differs")
            continue
        elif key == "tailscale":
            lines.append(
                f"  {key}: {flow(value)}  # until there is a join key: auth_key: {{file: …}} in place of enabled"
            )
        elif key == "require_gpu":
            lines.append(f"  {key}: {flow(value)}  # a model runs on the processor")
        else:
            lines.append(f"  {key}: {flow(value)}")
        after_cards = key == "gpus" or (key == "login_user" and not found.gpus)
        if after_cards:
            for sentence in (*found.said.values(), *found.notes):
                lines += textwrap.wrap(
                    sentence, WIDTH, initial_indent="  # ", subsequent_indent="  #   ", break_long_words=False
                )
    return "\n".join(lines) + "\n"


def _nearest(cards: int) -> str:
    """The profile for so many cards: of those that name no more, the one that names most."""
    fitting = [name for name in profiles() if len(_names(profiles()[name])) <= cards]
    return max(fitting, key=lambda name: len(_names(profiles()[name])))


def _names(profile: Mapping[str, Any]) -> list[str]:
    """The cards that a profile names, the coder's first."""
    instances = profile.get("instances", {})
    return list(dict.fromkeys(gpu for role in ROLES for gpu in instances.get(role, {}).get("gpus", [])))


def _default(key: str) -> Any:
    return Instance.model_fields[key].default
