"""What belongs together: a driver, its modules, the kernel image and headers they were built for, as one set for a depot. Pure.

Installed, it is a list of packages and versions (`driver_set`); before that, names that a depot resolves (`to_keep`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.components.nvidia.machine import Machine
from holdfast.components.nvidia.packages import NAMED, Choice, flavour
from holdfast.depot import AptSet
from holdfast.errors import HoldfastError

PREFIX = "driver-"
KNOWN = {f"{PREFIX}trixie": ("linux-image-amd64", "linux-headers-amd64", *NAMED)}
"""The sets that a depot can be filled with, and their packages: those whose archive has all of them, with keys known here.

Debian 13's alone. Debian 12's driver is in NVIDIA's repository, and Ubuntu's archive was never asked by us.
"""
_SUITES = {"bookworm", "trixie", "forky", "stable", "testing", "sid", "unstable"}
_DEBIAN = """\
Types: deb
URIs: {mirror}
Suites: {suite} {suite}-updates
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {security}
Suites: {suite}-security
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@dataclass(frozen=True)
class DriverSet:
    """A driver, its modules, the kernel and the headers they were built for: what belongs together on a depot.

    ``packages``: {name: version}, as apt takes them (name=version); ``kernel``: the release they were built for.
    """

    kernel: str
    packages: Mapping[str, str]


def to_keep(choice: Choice, machine: Machine) -> tuple[str, tuple[str, ...]]:
    """The name of the set on a depot ("driver-trixie"), and the packages that make it up: the choice and the kernel's image."""
    name = f"{PREFIX}{machine.codename}"
    kind = flavour(machine)
    image = f"linux-image-{kind}"
    return f"{name}-{kind}" if kind not in ("amd64", "generic") else name, (image, *choice.packages)


def kept_as(choice: Choice, machine: Machine) -> str:
    """The set in words: its name, its packages, and whether a depot can be filled with it."""
    name, packages = to_keep(choice, machine)
    there = KNOWN.get(name)
    how = f"./holdfast depot fetch {name}" if there and set(there) == set(packages) else "no depot has it yet"
    return f"{name}: {', '.join(packages)} ({how})"


def apt_set(name: str, sources: Sequence[Mapping[str, str]]) -> AptSet:
    """The set of that name. ``sources``: this computer's own sources of apt (repository.read_sources), of which the mirrors of
    Debian are taken. Raises HoldfastError."""
    if name not in KNOWN:
        raise HoldfastError(
            f"no set of driver packages {name!r}", allowed=", ".join(KNOWN), fix="use one of these names", code=2
        )
    suite = name.removeprefix(PREFIX)
    mirror, security = mirrors(sources)
    return AptSet(name, suite, KNOWN[name], _DEBIAN.format(suite=suite, mirror=mirror, security=security), NAMED[0])


def mirrors(sources: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """(archive, security archive): the mirrors of Debian that this computer uses itself. Raises HoldfastError."""
    there = [(uri, suite) for one in sources for uri in one["uris"].split() for suite in one["suites"].split()]
    archive = [uri for uri, suite in there if suite in _SUITES and uri.startswith("http")]
    security = [uri for uri, suite in there if suite.removesuffix("-security") in _SUITES and suite not in _SUITES]
    if not archive:
        raise HoldfastError(
            "this computer's apt knows no mirror of Debian to take the packages from", where="/etc/apt/sources.list.d",
            fix="run it on a computer with Debian, or add a mirror there",
        )  # fmt: skip
    main = archive[0].rstrip("/")
    return main, (security[0] if security else f"{main}-security").rstrip("/")


def driver_set(machine: Machine, kernel: str = "") -> DriverSet:
    """The packages installed now that belong together: driver, modules, ``kernel`` (default: what boots next), its headers."""
    release = kernel or machine.target.release
    metas = re.compile(r"linux-(image|headers|generic|modules-nvidia)(?!.*\d+\.\d+\.\d+)")
    own = {p.name for p in machine.driver_packages} | {"dkms", "firmware-nvidia-gsp"}
    there = [p.name for p in machine.packages.values() if p.installed]
    # What the headers of all flavours share: linux-headers-6.12.1-common, linux-kbuild-6.12.1 (Ubuntu: linux-headers-6.8.0-1).
    shared = re.compile(rf"linux-(headers|kbuild)-{re.escape(release.rpartition('-')[0] or release)}(-common)?")
    names = [n for n in there if n in own or release in n or metas.match(n) or shared.fullmatch(n)]
    return DriverSet(release, {name: machine.packages[name].version for name in sorted(names)})
