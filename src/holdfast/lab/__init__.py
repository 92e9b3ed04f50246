"""A throw-away workstation on this computer, with its network, its tailnet and its depot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.lab.lab import Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> Any:
    # Late, because every start of pyinfra asks `lab.state` for running labs and needs nothing else of this.
    if name == "Lab":
        from holdfast.lab.lab import Lab

        return Lab
    raise AttributeError(name)
