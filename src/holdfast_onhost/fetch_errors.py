"""How a fetch fails: for good, or only for now."""

from __future__ import annotations

PERMANENT, TEMPORARY = 1, 75  # exit codes; 75 is EX_TEMPFAIL of sysexits.h: trying again later may help


class FetchError(Exception):
    """What went wrong, with the values, and what to do about it."""

    code = PERMANENT

    def __init__(self, message: str, fix: str) -> None:
        # What a server says goes into messages, and from there to a terminal: no escapes, no lines of its own.
        self.message = "".join(letter if letter.isprintable() else " " for letter in message)
        super().__init__(self.message)
        self.fix = fix

    def render(self) -> str:
        """One `error:` line and one `Fix:` line."""
        return f"error: {self.message}\nFix: {self.fix}"


class Unreachable(FetchError):
    """The other side did not answer, or not sensibly, as often as it was asked."""

    code = TEMPORARY
