"""One apply: pyinfra as a subprocess (run), and what happens inside it (attach: login, lock, watchdog, events)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.settings import Workstation


def attach(ws: Workstation) -> None:
    """Called first in deploy.py, once for each host: prepares the connection that pyinfra has just made."""
    # Imported here: the command line imports this package too, and must not load pyinfra (gevent) for it.
    from holdfast.apply.attach import attach_host

    attach_host(ws.name)
