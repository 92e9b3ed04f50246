"""Validation errors in words: the key's path, what was given, what is allowed, the nearest known key."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from holdfast.errors import SettingsError

SHOWN = 8
FIX = "\nFix: "
"""Parts a ValueError of the options' own checks: what is wrong, and what to write instead."""


def settings_error(error: ValidationError, model: type[BaseModel], root: str, where: str) -> SettingsError:
    """One SettingsError for all problems in ``error``; ``root`` is the host's name, ``where`` the file it came from."""
    problems, fixes, allowed = [], [], []
    found = error.errors(include_url=False)
    for item in found[:SHOWN]:
        loc = tuple(item["loc"])
        path = ".".join([root, *map(str, loc)])
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, loc[:-1])
            near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
            problems.append(f"{path}: unknown key" + (f", nearest known: {near[0]}" if near else ""))
            fixes.append(
                f"write {near[0]} instead of {loc[-1]}" if near else f"remove {path}; known here: {', '.join(known)}"
            )
        elif item["type"] == "missing":
            problems.append(f"{path}: missing")
            fixes.append(f"add {path} (docs/settings.md)")
        else:
            # Our own checks may end in what to do.
            message, _, fix = item["msg"].removeprefix("Value error, ").partition(FIX)
            given = "" if not loc else f" (given: {_short(item['input'])})"
            problems.append(f"{path}: {message}{given}")
            limits = _limits(model, loc)
            allowed += [f"{path}: {limits}"] if limits else []
            fixes.append(fix or (f"set {path} to {limits}" if limits else f"correct {path}: {message}"))
    if len(found) > SHOWN:
        problems.append(f"and {len(found) - SHOWN} more")
    return SettingsError(
        "; ".join(problems), where=where, allowed="; ".join(allowed) or "see docs/settings.md", fix=fixes[0]
    )


def _short(value: Any) -> str:
    # What stands before an "@" in an address may be a password.
    text = re.sub(r"//[^/\s]*@", "//…@", repr(value))
    text = re.sub(r"\b[th]skey-[\w-]+", "(a key)", text)
    return text if len(text) <= 80 else text[:77] + "…"


def _limits(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What the option at ``loc`` takes, in a few words: choices, or type and range. Empty where it says neither."""
    here: Any = model
    metadata: list[Any] = []
    examples: list[Any] = []
    for step in loc:
        if _is_model(here) and str(step) in here.model_fields:
            field = here.model_fields[str(step)]
            here, metadata, examples = field.annotation, list(field.metadata), list(field.examples or [])
        else:
            here, metadata, examples = next(iter(typing.get_args(here)[-1:]), None), [], []
    here, metadata = _plain(here, metadata)
    if typing.get_origin(here) is dict:
        return f"keys with values{f', for example {examples[0]}' if examples else ''}"
    if typing.get_origin(here) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(here))
    low = next((m.ge for m in metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in metadata if hasattr(m, "le")), None)
    pattern = next((m.pattern for m in metadata if getattr(m, "pattern", None)), None)
    if pattern:
        like = f", for example {examples[0]}" if examples else ""
        return f"text of the form {pattern}{like}"
    # Only plain types have a name here: not Annotated[...], which need not be hashable either.
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words = names.get(here, "") if isinstance(here, type) else ""
    if low is not None and high is not None:
        return f"{words} from {low} to {high}".lstrip()
    return words


def _plain(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Without "or nothing", and without Annotated, whose limits join ``metadata``."""
    some = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and len(some) == 1:
        return _plain(some[0], metadata)
    if typing.get_origin(annotation) is typing.Annotated:
        more = [m for given in annotation.__metadata__ for m in getattr(given, "metadata", [given])]
        return _plain(some[0], [*metadata, *more])
    return annotation, metadata


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the options know at ``loc``."""
    here: Any = model
    for step in loc:
        if _is_model(here):
            field = here.model_fields.get(str(step))
            here = field.annotation if field else None
        else:
            # dict[str, Model] or list[Model]: one step down to what it holds.
            here = next(iter(typing.get_args(here)[-1:]), None)
    while here is not None and not _is_model(here):
        here = next((a for a in typing.get_args(here) if a is not type(None)), None)
    return sorted(here.model_fields) if here is not None else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
