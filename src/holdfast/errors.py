"""The one error that a person reads: what is wrong, where, what is allowed, and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# How a plan begins what would stop an apply.
STOPS = "an apply stops here"


class HoldfastError(Exception):
    """A failure with a cause that the user can act on.

    ``message`` names the value, ``where`` the place (file, key, host), ``allowed`` what would be right and ``fix`` the
    next command or edit. ``code`` is the exit code: 1 failed, 2 wrong usage or invalid settings.
    """

    def __init__(self, message: str, *, where: str = "", allowed: str = "", fix: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.message, self.where, self.allowed, self.fix, self.code = message, where, allowed, fix, code

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> HoldfastError:
        """The error that ``data()`` was taken of, read from JSON; what is missing is empty."""
        message, where, allowed, fix = (str(data.get(key, "")) for key in ("message", "where", "allowed", "fix"))
        return HoldfastError(message, where=where, allowed=allowed, fix=fix, code=int(data.get("code", 1)))

    def data(self) -> dict[str, str]:
        """What ``--json`` and the events of an apply tell of it: message, where, allowed, fix."""
        return {"message": self.message, "where": self.where, "allowed": self.allowed, "fix": self.fix}

    def render(self, lead: str = "error") -> str:
        """The text for a terminal, ``lead`` first; always ends in a ``Fix:`` line."""
        lines = [f"{lead}: {visible(self.message, keep=chr(10))}"]
        if self.where:
            lines.append(f"  at: {visible(self.where)}")
        if self.allowed:
            lines.append(f"  allowed: {visible(self.allowed)}")
        lines.append(f"Fix: {visible(self.fix) or 'see docs/troubleshooting.md'}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


def visible(text: str, keep: str = "") -> str:
    """``text`` with what a terminal would obey (control characters, line ends but those in ``keep``) written out."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class SettingsError(HoldfastError):
    """Settings that cannot be used; found before anything is connected. Exit code 2."""

    def __init__(self, message: str, *, where: str = "", allowed: str = "", fix: str = "") -> None:
        super().__init__(message, where=where, allowed=allowed, fix=fix, code=2)
