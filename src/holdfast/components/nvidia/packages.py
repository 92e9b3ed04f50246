"""Which packages a machine's driver is made of, per distribution, cards and settings. Pure.

One source only: a module of one origin and libraries of another is the classic way to a driver that does not start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.components.nvidia.cards import NEWEST
from holdfast.components.nvidia.checks import driven
from holdfast.components.nvidia.machine import Gpu, Machine, branch
from holdfast.components.nvidia.names import META, kinds
from holdfast.errors import HoldfastError

DEFAULT_BRANCH = 580
"""NVIDIA's long-term branch, to June 2028; Ubuntu's LTSB. https://docs.nvidia.com/datacenter/tesla/drivers/releases.json"""
CUDA_13 = 580
NAMED = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")
"""Debian's own driver, by its packages."""


@dataclass(frozen=True)
class Want:
    """What the settings ask of the driver; ``gpus``: name -> PCI address of the cards in use."""

    gpus: Mapping[str, str] = field(default_factory=dict)
    source: str = "auto"
    branch: int | None = None
    modules: str = "auto"
    minimum: int = 550
    reboot: str = "auto"
    required: bool = True
    here: bool = False
    """The machine is the computer that applies."""
    cuda_13: bool = False
    """Ollama's library for CUDA 13 is asked for by name."""


@dataclass(frozen=True)
class Release:
    """What one release of a distribution offers. ``own``: branch of its own driver (None: any that its archive has);
    ``prebuilt``: signed modules; ``vendor``: name of NVIDIA's repository for it, "" where it is not used."""

    own: int | None
    prebuilt: bool
    vendor: str = ""


RELEASES = {
    ("ubuntu", "jammy"): Release(None, True),
    ("ubuntu", "noble"): Release(None, True),
    ("ubuntu", "resolute"): Release(None, True),
    ("debian", "bookworm"): Release(535, False, "debian12"),
    ("debian", "trixie"): Release(550, False, "debian13"),
}


@dataclass(frozen=True)
class Choice:
    """The driver to install. ``vendor``: the name of NVIDIA's repository, "" for the distribution's own."""

    branch: int
    open: bool
    prebuilt: bool
    vendor: str
    packages: tuple[str, ...]

    def __str__(self) -> str:
        kind = "open" if self.open else "proprietary"
        origin = "NVIDIA's repository" if self.vendor else "the distribution"
        return f"driver {self.branch}, {kind} modules, from {origin}"


def choose(machine: Machine, want: Want) -> Choice:
    """The driver for this machine. Raises HoldfastError where no driver fits cards, settings and distribution."""
    release = RELEASES.get((machine.distribution, machine.codename))
    if release is None:
        raise HoldfastError(
            f"no driver packages are known for {machine.distribution or 'this distribution'} {machine.codename}",
            where="/etc/os-release", allowed=", ".join(" ".join(key) for key in RELEASES),
            fix="install the driver by hand and set nvidia.source: none",
        )  # fmt: skip
    cards = driven(machine, want.gpus)
    low, high, opened = _limits(cards, want)
    source = want.source
    if source == "auto":
        fits = release.own is None or (
            low <= release.own <= high and want.branch in (None, release.own) and opened is not True
        )
        source = "distribution" if fits or not release.vendor else "nvidia"
    if source == "nvidia" and not release.vendor:
        raise HoldfastError(
            f"nvidia.source: nvidia is not used on {machine.distribution} {machine.codename}", where="nvidia.source",
            allowed="distribution: its modules are built and signed there, and need no key of yours",
            fix="set nvidia.source: auto",
        )  # fmt: skip
    own = release.own if source == "distribution" else None
    number = own or want.branch or min(max(DEFAULT_BRANCH, low), high)
    if own and want.branch not in (None, own):
        raise HoldfastError(
            f"{machine.distribution} {machine.codename} has branch {own} only", where=f"nvidia.branch: {want.branch}",
            fix="set nvidia.source: nvidia, or leave nvidia.branch out",
        )  # fmt: skip
    if not low <= number <= high:
        raise _no_branch(cards, number, low, high, release, source)
    if opened is None:
        # Debian 13's own open modules do not build on its kernel (550.163.01-2 on 6.12.117: nv-pci.c:237).
        opened = want.modules == "open" or (want.modules == "auto" and not own)
    vendor = release.vendor if source == "nvidia" else ""
    return Choice(number, opened, release.prebuilt, vendor, _names(machine, release, number, opened, vendor))


def _limits(cards: tuple[Gpu, ...], want: Want) -> tuple[int, int, bool | None]:
    """(lowest branch, highest branch, open modules: needed, impossible or None for either). Raises HoldfastError."""
    low = max([want.minimum, *(max(gpu.card.architecture.first, gpu.card.architecture.served) for gpu in cards)])
    high = min([NEWEST, *(gpu.card.architecture.last for gpu in cards)])
    only_open = [gpu for gpu in cards if not gpu.card.architecture.proprietary]
    never_open = [gpu for gpu in cards if not gpu.card.architecture.open]
    if (only_open and never_open) or low > high:
        told = "; ".join(f"{gpu} ({gpu.card.architecture.name}): {_needs(gpu)}" for gpu in cards)
        old = [gpu for gpu in cards if gpu.card.architecture.last < want.minimum]
        if old:
            raise HoldfastError(
                f"no driver drives all of these cards and does for Ollama: {told}", where="gpus",
                allowed=f"cards that branch {want.minimum} or newer drives",
                fix="leave these cards out of `gpus` and of the instances; without any other set require_gpu: false",
            )  # fmt: skip
        raise HoldfastError(
            f"no driver drives all of these cards: {told}", where="gpus", allowed=f"branch {want.minimum} or newer",
            fix="take out of `gpus` and of the instances the cards that the others exclude",
        )  # fmt: skip
    for asked, against in (("open", never_open), ("proprietary", only_open)):
        if want.modules == asked and against:
            raise HoldfastError(
                f"the {asked} modules do not drive {', '.join(map(str, against))}", where=f"nvidia.modules: {asked}",
                fix="set nvidia.modules: auto",
            )  # fmt: skip
    return low, high, True if only_open else False if never_open else None


def _needs(gpu: Gpu) -> str:
    kind = gpu.card.architecture
    upper = "" if kind.last == NEWEST else f" to {kind.last}"
    modules = "" if kind.open and kind.proprietary else ", open modules" if kind.open else ", proprietary modules"
    return f"branch {max(kind.first, kind.served)}{upper or ' or newer'}{modules}"


def _no_branch(
    cards: tuple[Gpu, ...], number: int, low: int, high: int, release: Release, source: str
) -> HoldfastError:
    allowed = f"{low} or newer" if high == NEWEST else f"{low} to {high}"
    fix = "set nvidia.branch to one of these"
    if source == "distribution" and release.own:
        fix = "set nvidia.source: auto" if release.vendor else "install the driver by hand and set nvidia.source: none"
    return HoldfastError(
        f"driver branch {number} does not do for {', '.join(map(str, cards))}",
        where="nvidia.branch",
        allowed=allowed,
        fix=fix,
    )


def _alike(version: str, release: str) -> int:
    """How many numbers from the first on a metapackage's version (6.8.0-50.50, 5.15.0.130.128) shares with the release of the
    kernel that it brings (6.8.0-50-generic)."""
    pairs = list(zip(*(re.findall(r"\d+", words)[:4] for words in (version, release)), strict=False))
    return next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))


def flavour(machine: Machine) -> str:
    """Ubuntu's kernel flavour as its metapackages call it ("generic-hwe-24.04", "oem-24.04c"), Debian's ("amd64",
    "cloud-amd64"): the one of the kernel that boots next, where several are installed."""
    installed = [name for name, p in machine.packages.items() if p.installed]
    if machine.distribution == "ubuntu":
        # "virtual" is the generic kernel with fewer of its modules, and has no NVIDIA ones of its own.
        metas = {
            name: (m[2], m[1].replace("virtual", "generic")) for name in installed if (m := META.fullmatch(name))
        }
        boots = machine.target.release
        same = {name: one for name, one in metas.items() if one[1] == boots.rpartition("-")[2]} or metas
        # The release's own and the newer one (hwe) have one suffix: the metapackage's version tells which kernel it brings.
        best = max(same, key=lambda name: (_alike(machine.packages[name].version, boots), same[name]), default="")
        if best:
            return f"{same[best][1]}{same[best][0]}"
        # A cloud's image without its metapackage. Of an OEM kernel the release does not tell the rest of the name.
        suffix = boots.rpartition("-")[2]
        return suffix if suffix in kinds() and suffix not in ("oem", "virtual") else "generic"
    installed_kinds = [k for k in ("rt-amd64", "cloud-amd64", "amd64") if f"linux-image-{k}" in installed]
    running = [k for k in ("rt-amd64", "cloud-amd64") if machine.kernel.endswith(f"-{k}")]
    return (installed_kinds or running or ["amd64"])[0]


def _names(machine: Machine, release: Release, number: int, opened: bool, vendor: str) -> tuple[str, ...]:
    kind = flavour(machine)
    if release.prebuilt:
        return (
            f"linux-modules-nvidia-{number}-server-{'open-' if opened else ''}{kind}",
            # Its name says which modules it is for: it brings their sources along.
            f"nvidia-headless-no-dkms-{number}-server{'-open' if opened else ''}", f"nvidia-utils-{number}-server",
        )  # fmt: skip
    # The metapackage, never linux-headers-$(uname -r) alone: the next kernel needs its headers, too.
    headers = f"linux-headers-{kind}"
    if vendor:
        return headers, f"nvidia-kernel-{'open-' if opened else ''}dkms", "nvidia-driver-cuda", "nvidia-persistenced"
    own = [name.replace("nvidia-kernel-dkms", "nvidia-open-kernel-dkms") for name in NAMED] if opened else NAMED
    return headers, *own


def missing(machine: Machine, choice: Choice) -> list[str]:
    """Packages of the choice that are not installed, or are of another branch."""
    out = []
    for name in choice.packages:
        package = machine.packages.get(name)
        other = (
            bool(choice.vendor)
            and package is not None
            and name.startswith("nvidia-")
            and branch(package.version) != choice.branch
        )
        if package is None or not package.installed or other:
            out.append(name)
    return out


def foreign(machine: Machine, choice: Choice) -> str:
    """What of another origin stands in the way of ``choice``; "" for nothing."""
    there = machine.driver_packages
    others = sorted(p.name for p in there if p.vendor != bool(choice.vendor))
    if others:
        return (
            f"packages from {'the distribution' if choice.vendor else 'NVIDIA’s repository'}: {', '.join(others[:4])}"
        )
    if tesla := sorted(p.name for p in there if re.match(r"(lib)?nvidia-tesla", p.name) and p.state[1:] != "c"):
        return f"Debian's driver for data-centre cards: {', '.join(tesla[:4])}"
    if machine.library and not there:
        return f"driver {machine.library}, which no package put there (NVIDIA's .run file?)"
    if choice.prebuilt:
        # Ubuntu's packages for a desktop: replaced by these, the screen would lose its libraries.
        desktop = sorted(p.name for p in there if re.search(r"-\d{3}(-open)?$", p.name))
        return f"Ubuntu's driver for desktops: {', '.join(desktop[:4])}" if desktop else ""
    return ""


def superseded(machine: Machine, choice: Choice) -> list[str]:
    """Installed packages of another branch, or of modules of the other kind, which have it in their names and so would not
    be upgraded."""
    if not choice.prebuilt:
        return []
    series = [(p.name, re.search(r"-(\d{3})-server\b", p.name)) for p in machine.driver_packages if p.state[1:] != "c"]
    kinds = re.compile(r"(linux-modules-nvidia|nvidia-headless|nvidia-headless-no-dkms|nvidia-kernel-source|nvidia-dkms)-\d")
    return sorted(
        name for name, found in series
        if found and (int(found[1]) != choice.branch or (kinds.match(name) and ("-open" in name) != choice.open))
    )  # fmt: skip
