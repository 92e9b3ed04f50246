"""What a plain ``pyinfra`` run was limited to: words that match no host are an error, where pyinfra only warns, does nothing
and exits 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

# pyinfra's own command line is made with it.
import click

from holdfast.errors import HoldfastError
from holdfast.paths import hosts_file


def check_limits(groups: Mapping[str, Any]) -> None:
    """Called by inventory.py with what it gives to pyinfra. Raises HoldfastError when the words of this run leave no host,
    or one of them matches none."""
    context = click.get_current_context(silent=True)
    given = context.params if context is not None else {}
    targets(groups, given.get("limit") or (), given.get("exclude") or ())


def targets(groups: Mapping[str, Any], limit: Iterable[str], exclude: Iterable[str]) -> set[str]:
    """The names of the hosts that ``--limit`` and ``--exclude`` leave; read as pyinfra reads them: a group, else a glob over
    names. ``groups`` as in settings.inventory.groups()."""
    everyone = [name for name, _ in groups["all"]]
    if not everyone:
        raise HoldfastError(
            "no host is known", where=str(hosts_file()),
            fix="copy hosts.example.yml to hosts.yml, or start the throw-away machine: ./holdfast up",
        )  # fmt: skip
    # pyinfra calls a group after the file, too.
    known = {**groups, "all": everyone, "inventory": everyone}

    def chosen(option: str, patterns: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            matches = known.get(pattern) or [name for name in everyone if fnmatch(name, pattern)]
            if not matches:
                raise _nobody(f"{option} {pattern!r:.60} matches no host", known, everyone)
            found.update(matches)
        return found

    left = (chosen("--limit", limit) or set(everyone)) - chosen("--exclude", exclude)
    if not left:
        raise _nobody("--exclude leaves no host", known, everyone)
    return left


def _nobody(what: str, known: Mapping[str, Any], everyone: list[str]) -> HoldfastError:
    groups = ", ".join(name for name in known if name not in everyone)
    return HoldfastError(
        what, where=str(hosts_file()), allowed=f"hosts: {', '.join(everyone)}; groups: {groups}",
        fix="name one of these, or add the host to hosts.yml (hosts.example.yml shows how)",
    )  # fmt: skip
