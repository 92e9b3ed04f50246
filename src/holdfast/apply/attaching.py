"""The first thing in deploy.py, once for each host, inside pyinfra's process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from pyinfra.api import DeployError
from pyinfra.context import ctx_host, ctx_state

from holdfast.apply import connection
from holdfast.apply.channel import can_open
from holdfast.apply.events import Events
from holdfast.apply.variables import PARENT
from holdfast.errors import HoldfastError
from holdfast.operations.failing import report


def attach_host(name: str) -> None:
    """Events, the login, and what becomes root. Raises DeployError, which pyinfra shows as one line.

    ``name`` is the host's own; pyinfra's name for this computer is ``@local``.
    """
    state: Any = ctx_state.get()
    host: Any = ctx_host.get()
    die_with_parent()
    if not any(isinstance(handler, Events) for handler in state.callback_handlers):
        state.add_callback_handler(Events())
    if not can_open(host):
        return
    try:
        connection.prepare(host, name)
    except HoldfastError as error:
        report(host, error)
        raise DeployError(error.message) from None


def die_with_parent() -> None:
    """When the command line is killed, this process must not go on alone (Linux: prctl PR_SET_PDEATHSIG)."""
    parent = os.environ.get(PARENT, "")
    if not parent:
        return
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        raise DeployError("the command that started this apply has gone")
