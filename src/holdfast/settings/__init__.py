"""Settings: hosts.yml over a hardware profile over the options' own defaults, validated before anything is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.settings.section import Section

if TYPE_CHECKING:
    from holdfast.settings.loader import load
    from holdfast.settings.workstation import Workstation

__all__ = ["Section", "Workstation", "load"]


def __getattr__(name: str) -> Any:
    # On first use: `settings.workstation` imports the components' options, and each of those a module of this package, so
    # that this file has run before Workstation can be made.
    if name == "Workstation":
        from holdfast.settings.workstation import Workstation

        return Workstation
    if name == "load":
        from holdfast.settings.loader import load

        return load
    raise AttributeError(name)
