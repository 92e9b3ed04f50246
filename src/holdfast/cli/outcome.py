"""What a verb hands back; it never prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """``data`` for --json; for a person ``lines``, each a text or something that Rich can draw; ``code``: exit code."""

    data: dict[str, Any]
    lines: list[Any] = field(default_factory=list)
    code: int = 0
