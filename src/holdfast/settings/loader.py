"""The one loader: inventory.py, deploy.py, the command line and the tests all come through here."""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import SettingsError
from holdfast.paths import GROUP_DATA, hosts_file
from holdfast.settings.authorities import certificates
from holdfast.settings.document import read_mapping
from holdfast.settings.merge import merge, nested
from holdfast.settings.workstation import NAME, Workstation

# The throw-away machines: of `up`, and of the tests' rungs.
LABS = ("lab", "test", "cut", "driver", "vm")
# pyinfra takes the first two as groups: a host called so would mean many hosts.
RESERVED = {"all", "inventory", *LABS}


class UnknownHost(SettingsError):
    """A name that no host has; ``near`` is the known one that looks most like it, or empty."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.near = name, next(iter(difflib.get_close_matches(name, known, n=1)), "")
        fix = f"./holdfast plan {self.near}" if self.near else f"add it to {hosts_file()} (hosts.example.yml shows how)"
        super().__init__(f"unknown host {name!r:.60}", allowed=", ".join(known) or "no host is known yet", fix=fix)


@functools.cache
def profiles() -> dict[str, dict[str, Any]]:
    """Every hardware profile: name -> its literals. Read once; not to be changed by who asks."""
    return {p.stem: _profile(p) for p in sorted(GROUP_DATA.glob("*.py")) if not p.stem.startswith("_")}


def _profile(path: Path) -> dict[str, Any]:
    return {k: v for k, v in runpy.run_path(str(path)).items() if not k.startswith("_") and k != "annotations"}


def sites() -> dict[str, dict[str, Any]]:
    """Every host that is known here: name -> its block, ``name`` included. hosts.yml first, then labs that run."""
    path = hosts_file()
    blocks: dict[str, Any] = read_mapping(path) if path.exists() else {}
    found = {name: site(name, block, str(path)) for name, block in blocks.items()}
    from holdfast.lab import state

    for lab in state.running():
        if lab.name in found:
            raise SettingsError(
                f"host {lab.name!r} is also the name of a running lab",
                where=str(path),
                fix=f"rename {lab.name} in {path}",
            )
        found[lab.name] = {**lab.site, "name": lab.name}
    one_local(found, str(path))
    return {name: _with_set(name, site) for name, site in found.items()}


def site(name: str, block: Any, where: str) -> dict[str, Any]:
    """One block of hosts.yml with its ``name``. Raises SettingsError for a name or a block that no host can have."""
    if not re.match(NAME, name):
        allowed = "small letters, digits, - and _, at most 31, a letter first"
        raise SettingsError(f"host name {name!r:.60}", where=where, allowed=allowed, fix="rename the host")
    if name in RESERVED or name in profiles():
        taken = "a hardware profile is called so" if name in profiles() else "the word has a meaning of its own here"
        raise SettingsError(f"a host cannot be called {name!r}: {taken}", where=where, fix="rename the host")
    if not isinstance(block, dict):
        raise SettingsError(f"{name}: {block!r:.60} is no mapping", where=where, fix="see hosts.example.yml")
    if "name" in block:
        raise SettingsError(
            f"{name}.name: unknown key", where=where, fix=f"remove {name}.name; the key above is the name"
        )
    return {**block, "name": name}


def one_local(blocks: Mapping[str, Any], where: str) -> None:
    """Raises SettingsError where two hosts say that they are this computer: pyinfra calls both of them @local."""
    here = [name for name, block in blocks.items() if isinstance(block, dict) and block.get("local") is True]
    if len(here) > 1:
        raise SettingsError(
            f"`local: true` stands in {len(here)} hosts: {', '.join(here)}", where=where,
            allowed="one host at most: the computer that Holdfast runs on",
            fix=f"keep it in one of them; remove the others, or write ssh: there in place of {here[1]}.local",
        )  # fmt: skip


def _with_set(name: str, site: dict[str, Any]) -> dict[str, Any]:
    """``up --set path=value`` arrives in the environment, for one host by name."""
    host, values = given()
    return merge(site, nested(values)) if host == name else site


def given() -> tuple[str, dict[str, Any]]:
    """$HOLDFAST_SET, in which a command hands its --set on: the host and {path: value}. ("", {}) where there is none."""
    text = os.environ.get("HOLDFAST_SET", "")
    if not text:
        return "", {}
    try:
        found = json.loads(text)
        host, values = found["host"], found["values"]
    except (ValueError, TypeError, KeyError, RecursionError):
        host, values = None, None
    if not isinstance(host, str) or not isinstance(values, dict):
        raise SettingsError(
            f"HOLDFAST_SET is {text!r:.80}", where="the environment", allowed='{"host": NAME, "values": {PATH: VALUE}} in JSON',
            fix="unset HOLDFAST_SET; another value for one run is --set PATH=VALUE",
        )  # fmt: skip
    return host, values


def resolve(site: Mapping[str, Any], profile: Mapping[str, Any] | None = None, where: str = "") -> Workstation:
    """The validated settings of one host. ``profile`` defaults to the literals of the profile that the site names."""
    name, wanted = str(site.get("name", "?")), site.get("profile")
    where = where or str(hosts_file())
    if profile is None:
        known = profiles()
        if not isinstance(wanted, str) or wanted not in known:
            near = difflib.get_close_matches(str(wanted), known, n=1)
            fix = f"write profile: {near[0]}" if near else f"write one of these after {name}.profile: {', '.join(known)}"
            raise SettingsError(f"{name}.profile is {wanted!r:.60}", where=where, allowed=", ".join(known), fix=fix)
        profile = known[wanted]
    return Workstation.laid_over(profile, site, where)


def usable(ws: Workstation) -> Workstation:
    """``ws``, when the files of this computer that it names are there and are what they should be. Raises SettingsError."""
    certificates(ws)
    return ws


def load(name: str) -> Workstation:
    """The settings of the host called ``name``. An unknown name is an error that lists the known ones (exit code 2)."""
    known = sites()
    if name not in known:
        raise UnknownHost(name, list(known))
    return usable(resolve(known[name], where=_where(name)))


def _where(name: str) -> str:
    """The place a person would correct: hosts.yml, or the words of this very command."""
    if given()[0] == name:
        return f"--set, or {hosts_file()}"
    return str(hosts_file())
