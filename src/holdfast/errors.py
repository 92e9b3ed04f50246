"""The one error that a person reads: what is wrong, where, what is allowed, and the way out."""

from __future__ import annotations


class HoldfastError(Exception):
    """A failure with a cause that the user can act on.

    ``message`` names the value, ``where`` the place (file, key, host), ``allowed`` what would be right and ``fix`` the
    next command or edit. ``code`` is the exit code: 1 failed, 2 wrong usage or invalid settings.
    """

    def __init__(self, message: str, *, where: str = "", allowed: str = "", fix: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.message, self.where, self.allowed, self.fix, self.code = message, where, allowed, fix, code

    def render(self) -> str:
        """The text for a terminal; always ends in a ``Fix:`` line."""
        lines = [f"error: {self.message}"]
        if self.where:
            lines.append(f"  at: {self.where}")
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        lines.append(f"Fix: {self.fix or 'see docs/troubleshooting.md'}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


class SettingsError(HoldfastError):
    """Settings that cannot be used; found before anything is connected. Exit code 2."""

    def __init__(self, message: str, *, where: str = "", allowed: str = "", fix: str = "") -> None:
        super().__init__(message, where=where, allowed=allowed, fix=fix, code=2)
