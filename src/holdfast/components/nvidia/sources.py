"""apt's sources for the driver: which components the distribution's lacks, and what of NVIDIA's repository is let in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.components.nvidia.machine import Machine
from holdfast.components.nvidia.names import PINNED
from holdfast.components.nvidia.packages import Choice
from holdfast.errors import HoldfastError
from holdfast.operations.place import Absent, Entry, File
from holdfast.render import render

ORIGIN = "developer.download.nvidia.com"
KEYRING = "/etc/apt/keyrings/holdfast-nvidia.gpg"
SOURCE = "/etc/apt/sources.list.d/holdfast-nvidia.sources"
COMPONENTS = "/etc/apt/sources.list.d/holdfast-components.sources"
PREFERENCES = "/etc/apt/preferences.d/holdfast-nvidia"
NEEDED = {"debian": ("contrib", "non-free", "non-free-firmware"), "ubuntu": ("restricted",)}


@dataclass(frozen=True)
class VendorKey:
    """The one key that may sign: its file in the repository, and its whole fingerprint."""

    file: str
    fingerprint: str


# Debian 13 refuses the first one's SHA-1 self-signature; its repository is signed with another key.
# https://github.com/NVIDIA/cuda-repo-management (GPG keys); the fingerprints as key servers and other projects have them.
KEYS = {
    "debian12": VendorKey("3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
    "debian13": VendorKey("8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
}


def uri(vendor: str) -> str:
    """NVIDIA's repository for one distribution ("debian12")."""
    return f"https://{ORIGIN}/compute/cuda/repos/{vendor}/x86_64/"


def components(found: Mapping[str, Any], machine: Machine) -> str:
    """The deb822 text with what the machine's own mirrors are not asked for yet; "" when they are asked for all of it."""
    needed = NEEDED.get(machine.distribution, ())
    suites = {f"{machine.codename}{end}" for end in ("", "-updates", "-security")}
    entries = [e for e in found["sources"] if e["file"] != COMPONENTS]
    have: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        for address in entry["uris"].split():
            for suite in entry["suites"].split():
                have.setdefault((address, suite), set()).update(entry["components"].split())
    out = []
    for entry in entries:
        for address in entry["uris"].split():
            for suite in entry["suites"].split():
                known = have.get((address, suite), set())
                lack = [c for c in needed if c not in known]
                if suite in suites and "main" in known and lack:
                    have.pop((address, suite))
                    out.append({**entry, "uris": address, "suites": suite, "components": " ".join(lack)})
    return render("nvidia/etc/apt/sources.list.d/holdfast-components.sources.j2", sources=out) if out else ""


def files(found: Mapping[str, Any], machine: Machine, choice: Choice) -> list[Entry]:
    """What apt must find for ``choice``. Raises HoldfastError where NVIDIA's repository is there already by other hands:
    apt refuses two sources of one repository with different keyrings, and then every apt command fails."""
    text = components(found, machine)
    out: list[Entry] = [File(COMPONENTS, text) if text else Absent(COMPONENTS)]
    if not choice.vendor:
        return [*out, *(Absent(path) for path in (SOURCE, PREFERENCES, KEYRING))]
    rivals = sorted({e["file"] for e in found["sources"] if ORIGIN in e["uris"] and e["file"] != SOURCE})
    if rivals:
        raise HoldfastError(
            f"apt knows NVIDIA's repository already: {', '.join(rivals)}", where="nvidia.source",
            allowed="one file, with the key and the pin that Holdfast writes",
            fix=f"sudo apt purge cuda-keyring; sudo rm -f {' '.join(rivals)}; then the same command again",
        )  # fmt: skip
    pins = render(
        "nvidia/etc/apt/preferences.d/holdfast-nvidia.j2", branch=choice.branch, packages=PINNED, origin=ORIGIN
    )
    source = render("nvidia/etc/apt/sources.list.d/holdfast-nvidia.sources.j2", uri=uri(choice.vendor), keyring=KEYRING)
    # The pin first: at no moment is all of that repository open to apt.
    return [*out, File(PREFERENCES, pins), File(SOURCE, source)]


def paths(entries: Sequence[Entry]) -> list[str]:
    return [entry.path for entry in entries]
