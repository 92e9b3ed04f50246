"""What pyinfra does, told as it happens; and the lock around it.

pyinfra's own ``--json`` prints one object at the end, and nothing at all when the only host fails; so the command line
listens to these events instead. In a plain ``pyinfra`` run nobody listens, and only the lock is left.
"""

from __future__ import annotations

import time
from typing import Any

from pyinfra.api.state import BaseStateCallback

from holdfast.apply import connection
from holdfast.operations.events import emit


class Events(BaseStateCallback):
    """The handler for pyinfra's state."""

    def __init__(self) -> None:
        self._started = 0.0

    def operation_start(self, state: Any, op_hash: str) -> None:
        # Here and not in deploy.py, because a dry run never comes here: looking needs no lock. Each time, because
        # a reboot in between ends the lock that was held.
        for host in state.inventory.get_active_hosts():
            connection.hold(host)
        order = state.get_op_order()
        self._started = time.monotonic()
        emit("operation", name=name_of(state, op_hash), n=order.index(op_hash) + 1, of=len(order))

    def operation_end(self, state: Any, op_hash: str) -> None:
        hosts = [host for host in state.inventory.get_active_hosts() if op_hash in state.ops[host]]
        changed = any(state.ops[host][op_hash].operation_meta.did_change() for host in hosts)
        seconds = round(time.monotonic() - self._started, 3)
        emit("operation_end", name=name_of(state, op_hash), changed=changed, seconds=seconds)

    def operation_host_error(self, state: Any, host: Any, op_hash: str, *_: Any, **__: Any) -> None:
        emit("operation_failed", name=name_of(state, op_hash), host=host.name)

    def host_disconnect(self, state: Any, host: Any) -> None:
        connection.release(host)


def name_of(state: Any, op_hash: str) -> str:
    """'Ollama | Place the unit': the operation's full name, its component first."""
    return ", ".join(sorted(state.op_meta[op_hash].names))
