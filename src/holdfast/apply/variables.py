"""What the command line and the pyinfra that it starts agree on: variables of the environment, and how a password is asked for.

Free of pyinfra: the command line reads it, and must not load pyinfra (gevent).
"""

from __future__ import annotations

from collections.abc import Callable

# Asks the person for a password: (user, host, whether the last one was wrong) -> the password, empty for none.
Ask = Callable[[str, str, bool], str]
# Read end of a pipe from the command line, which asks the person when it sees the event `sudo_password`.
SUDO_FD = "HOLDFAST_SUDO_FD"
# The process id of the command line that started this pyinfra.
PARENT = "HOLDFAST_PARENT"
# In every command of an apply on the host: the apply it belongs to.
APPLY = "HOLDFAST_APPLY"
