"""What is around the NVIDIA module of a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Driver:
    """What is around the NVIDIA module: kernels, half-done packages, Secure Boot; and how things go wrong."""

    device: str = "0x2204"
    kernel: str = "6.1.0-1-amd64"
    kernels: dict[str, dict[str, Any]] = field(default_factory=dict)
    boots: int = 0
    states: dict[str, str] = field(default_factory=dict)
    """Package -> the two letters of dpkg -l, where they are not ii."""
    failures: list[dict[str, str]] = field(default_factory=list)
    holders: list[tuple[str, str]] = field(default_factory=list)
    """(program, unit) of who has the device open."""
    passphrases: list[str] = field(default_factory=list)
    watts: dict[str, float] = field(default_factory=dict)
    secure_boot: bool = False
    vendor_key: str = ""
    busy: list[str] = field(default_factory=list)
    busy_for: int = 0
    """How many looks it stays so."""
    unbuildable: tuple[str, ...] = ()
    refuses: bool = False
    stubborn: bool = False
    """nouveau takes the cards at every boot."""
    in_use: bool = False
    deaf: bool = False
    down: int = 0
    container: bool = False
    upgrading: list[str] = field(default_factory=list)
    """Packages that somebody else's apt has half done; it holds the lock, and is done after ``upgrading_for`` looks at it."""
    upgrading_for: int = 0
