"""Makers of the official artifacts, in the same shape, for when the vendor cannot be reached.

A builder is a function ``(pin, work, log, progress) -> Built`` that leaves its file in the folder ``work``. What it makes
is decided by the pin, by locks/go/<name> and by RECIPE: raise RECIPE whenever a change here changes the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.depot.lock import Pin
from holdfast.progress import Progress

RECIPE = 1
EPOCH = 1767225600
"""2026-01-01 00:00:00 UTC: the time on every packed file, so that the same inputs give the same bytes."""


@dataclass(frozen=True)
class Built:
    """What a builder made: ``file`` in its work folder, and the versions of parts that no hash pins."""

    file: Path
    parts: dict[str, str] = field(default_factory=dict)


Builder = Callable[[Pin, Path, Path, Progress], Built]


def find(name: str) -> Builder:
    """The builder that a lock entry names."""
    from holdfast.depot.builders import headscale, ollama, tailscale

    return {"ollama": ollama.build, "tailscale": tailscale.build, "headscale": headscale.build}[name]


KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PROGRAMS: dict[str, dict[str, str]] = {
    "ollama": {
        "gcc": "gcc",
        "g++": "g++",
        "mmdebstrap": "mmdebstrap",
        KEYRING: "debian-archive-keyring",
        "zstd": "zstd",
        "tar": "tar",
    },
    "tailscale": {"dpkg-deb": "dpkg"},
    "headscale": {},
}
"""Programs (or files) a builder needs -> the Debian package that has them. Go comes as a wheel where it is missing."""
OPENING: dict[str, dict[str, str]] = {".zst": {"zstd": "zstd"}, ".deb": {"dpkg-deb": "dpkg"}}
"""What looking into an archive needs, by the end of its name: also into a vendor's."""
SIGNING = {"apt-ftparchive": "apt-utils", "gpg": "gnupg", "gpg-agent": "gpg-agent"}
"""What the signed repository around a package needs."""


def programs(pin: Pin, *, built: bool) -> dict[str, str]:
    """All that an artifact needs on its way into the depot, ``built`` here or fetched: program or file -> Debian package."""
    found = dict(PROGRAMS[pin.builder]) if built else {}
    return found | OPENING.get(Path(pin.filename).suffix, {}) | (SIGNING if pin.suites else {})
