"""Versions of packages and kernels, in their order."""

from __future__ import annotations

import re


def version_key(text: str) -> tuple[tuple[int, str], ...]:
    """Sorts 6.12.9 before 6.12.107, and 6.13~rc1 before 6.13."""
    parts = re.split(r"(\d+)", text.replace("~", "\1"))
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)
