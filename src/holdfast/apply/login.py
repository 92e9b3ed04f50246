"""Who we are on the host after the login, and how we become root there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError

Sudo = Literal["root", "missing", "free", "password"]

# A folder of our own for pyinfra's temporary files: its default is a predictable name in /tmp that all may read.
SOURCE = r"""
if [ "$(id -u)" = 0 ]; then sudo=root
elif ! command -v sudo >/dev/null 2>&1; then sudo=missing
elif sudo -n true >/dev/null 2>&1; then sudo=free
else sudo=password; fi
umask 077
tmp=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tmp
mkdir -p "$tmp" 2>/dev/null && chmod 700 "$tmp" || tmp=$(mktemp -d)
printf '%s\n' "$(id -un)" "$sudo" "$tmp"
"""


@dataclass(frozen=True)
class Account:
    """``sudo``: root needs none; else whether sudo is missing, free (no password) or asks for a password."""

    user: str
    sudo: Sudo
    tmp: str


class Login(FactBase[Account]):
    """The account that we are logged in with; run without sudo. One round trip."""

    def command(self) -> StringCommand:
        return StringCommand("sh", "-c", "'" + SOURCE.replace("'", "'\\''") + "'")

    def process(self, output: Any) -> Account:
        return parse(list(output))


def parse(lines: list[str]) -> Account:
    """The last three lines; whatever a login shell said before them is not ours."""
    *_, user, sudo, tmp = ["", "", "", *lines]
    if sudo not in ("root", "missing", "free", "password") or not tmp.startswith("/"):
        raise FactProcessError(f"unexpected answer of the login check: {lines[-3:]}")
    return Account(user, sudo, tmp)  # type: ignore[arg-type]
