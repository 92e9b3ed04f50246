"""Asking the person for a sudo password: on the terminal itself, whatever stdout and stderr are."""

from __future__ import annotations

import getpass
import os

from holdfast.cli.show import Shown


class Asker:
    """Asks when the host does; the answer is kept in this process only, and given again for what the same command still has
    to do, until the host says that it was wrong."""

    def __init__(self, progress: Shown) -> None:
        self._progress, self.given = progress, ""

    def __call__(self, user: str, host: str, again: bool) -> str:
        if self.given and not again:
            return self.given
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            # Nobody to ask; the apply says what to do.
            return ""
        with self._progress.aside():
            wrong = "That was not it. " if again else ""
            self.given = getpass.getpass(f"{wrong}sudo password of {user} on {host} (kept nowhere): ")
        return self.given

