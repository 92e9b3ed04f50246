"""Tailscale's apt repository: which one suits the machine, and the operation that makes apt know it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.tailscale.facts import AptRepository
from holdfast.depot import AptSource, resolve_apt
from holdfast.errors import HoldfastError
from holdfast.operations.distribution import distribution
from holdfast.operations.failing import fail
from holdfast.operations.place import File, writing
from holdfast.operations.release import FETCH
from holdfast.operations.remote import without_python
from holdfast.render import render

KEYRING = "/etc/apt/keyrings/holdfast-tailscale.gpg"
SOURCE = "/etc/apt/sources.list.d/tailscale.sources"
# What Tailscale's own instructions leave behind. apt refuses two sources of one repository with different keyrings
# ("Conflicting values set for option Signed-By"), and then every apt command fails.
STALE = ("/etc/apt/sources.list.d/tailscale.list",)


def served(release: dict[str, str]) -> tuple[str, str]:
    """("debian" | "ubuntu", codename) of an /etc/os-release. Raises HoldfastError for all others."""
    name, codename = distribution(release)
    if name in ("debian", "ubuntu") and codename:
        return name, codename
    raise HoldfastError(
        f"no Tailscale packages for this distribution: {release.get('PRETTY_NAME') or name or 'unknown'}",
        where="/etc/os-release", allowed="Debian, Ubuntu, and what derives from them",
        fix="install tailscale by hand and set tailscale.enabled: false",
    )  # fmt: skip


def source_text(source: AptSource) -> str:
    """The deb822 file that names the repository and the one key that may sign it."""
    return render("tailscale/etc/apt/sources.list.d/tailscale.sources.j2", source=source, keyring=KEYRING)


def commands(found: dict[str, Any], source: AptSource) -> list[StringCommand]:
    """What is to be done so that apt knows ``source``; none when it does. The keyring comes first: a source whose key is
    missing makes every apt command complain."""
    out = []
    if found["keyring"] != source.keyring.sha256 or KEYRING in found["open"]:
        key = source.keyring
        fetch = f"{FETCH} {shlex.quote(key.url)} {key.size} {key.sha256} {KEYRING}"
        # 0644 whatever the umask: apt reads it as the user _apt.
        out.append(StringCommand(f"install -d -m 755 {KEYRING.rpartition('/')[0]} && {fetch} && chmod 644 {KEYRING}"))
    if found["stale"]:
        out.append(StringCommand("rm -f -- " + shlex.join(found["stale"])))
    text = source_text(source)
    if found["source"] != text or SOURCE in found["open"]:
        out.append(writing([File(SOURCE, text)]))
    return out


@operation()
def repository(depot: str) -> Iterator[StringCommand | FunctionCommand]:
    """apt knows the repository that ``depot`` (Workstation.depot) has the pinned Tailscale in."""
    found = AptRepository.read(host, keyring=KEYRING, source=SOURCE, stale=list(STALE))
    if found is None:
        # A machine without python3: for a plan that is a change to come.
        yield without_python(host) if host.state.is_executing else StringCommand("true")
        return
    try:
        todo = commands(found, resolve_apt("tailscale", depot, *served(found["release"])))
    except HoldfastError as error:
        yield fail(error)
        return
    if not todo:
        host.noop("apt knows the repository")
    yield from todo
