"""Which distribution's packages a machine takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def distribution(release: Mapping[str, str]) -> tuple[str, str]:
    """("debian", "trixie") of an /etc/os-release (https://www.freedesktop.org/software/systemd/man/os-release.html); of a
    derivative, those of what it derives from. What it does not say is ""; what is neither Debian's nor Ubuntu's keeps its
    own names."""
    for name in ("ubuntu", "debian"):
        # A derivative's own ID and VERSION_CODENAME are no suites of these archives.
        if codename := release.get(f"{name.upper()}_CODENAME", ""):
            return name, codename
    return release.get("ID", ""), release.get("VERSION_CODENAME", "")
