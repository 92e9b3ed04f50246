"""One apply: pyinfra as a subprocess (run), and what happens inside it (attach: login, lock, watchdog, events)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.settings import Workstation


def attach(ws: Workstation) -> None:
    """Called first in deploy.py, once for each host: prepares the connection that pyinfra has just made."""
    # Not called attach.py: once imported, a submodule takes the place of the function of its name, and pyinfra loads
    # deploy.py once for each host.
    # Imported here: the command line imports this package too, and must not load pyinfra (gevent) for it.
    from holdfast.apply.attaching import attach_host

    attach_host(ws.name)
