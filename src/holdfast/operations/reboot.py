"""Rebooting a host and coming back to it in the same run, over whatever connection leads there.

pyinfra's own server.reboot compares uptimes, waits ten seconds whatever happens, and leaves the old SSH client, with its
ProxyCommand, open. Here the kernel's boot id tells one boot from the next.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.connectors.util import clear_askpass_cache

from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.running import run

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_EVERY_S = 2.0
_DONE = "holdfast-rebooted"
# Returns at once; systemd then ends everything in order. A shell in the background would be ended with this connection.
_REBOOT = "systemctl --no-block reboot"


def boot_id(host: Any) -> str:
    """The id of the host's present boot, asked without sudo; "" when it cannot be asked."""
    try:
        ok, output = host.run_shell_command(StringCommand(f"cat {BOOT_ID}"), _timeout=10)
    except Exception:
        # A connection that is about to end raises whatever paramiko, gevent or a ProxyCommand raise just then.
        return ""
    return output.stdout.strip() if ok else ""


def perform(state: Any, host: Any, timeout_s: float) -> bool:
    """Reboot ``host`` and reconnect within ``timeout_s`` seconds; False, with the reason reported, when that fails.

    Afterwards only what needs no sudo may run in the same operation: the next one takes lock and sudo up again
    (holdfast.apply.connection.hold).
    """
    if type(host.connector).__name__ == "LocalConnector":
        report(
            host,
            HoldfastError(
                "this computer cannot reboot itself and go on", fix="reboot, then the same command again", code=3
            ),
        )
        return False
    before = boot_id(host)
    # Without the old boot's id nothing tells when the new one is there; so it is not begun.
    ok, lines = (
        run(state, host, StringCommand(_REBOOT)) if before else (False, ["the machine does not say which boot this is"])
    )
    # A refusal has words. Without any, the reboot itself has ended the connection before the command's status got through
    # (seen on a slow machine): whether it reboots is seen below.
    if not ok and lines:
        said = " / ".join(lines)
        report(
            host,
            HoldfastError(
                f"the reboot was refused: {said}", where=host.name, fix="on the machine: sudo systemctl reboot"
            ),
        )
        return False
    leave(host)
    start = time.monotonic()
    while True:
        spent = time.monotonic() - start
        if spent > timeout_s:
            fix = "look at the machine's screen (boot menu, passphrase, fsck); once it is up: the same command again"
            report(
                host,
                HoldfastError(
                    f"{host.name} did not come back within {timeout_s:g} s after its reboot", where=host.name, fix=fix
                ),
            )
            return False
        emit("waiting", host=host.name, what=f"{host.name} to boot", seconds=round(spent, 1))
        time.sleep(_EVERY_S)
        if reconnect(host):
            now = boot_id(host)
            if now and now != before:
                host.connector_data[_DONE] = True
                return True
            # Still the old boot, on its way down.
            leave(host)


def done(host: Any) -> bool:
    """Whether this run has rebooted ``host``."""
    return bool(host.connector_data.get(_DONE))


def leave(host: Any) -> None:
    """End the connection for good. What was agreed about sudo belongs to the boot that ends."""
    clear_askpass_cache(host)
    with contextlib.suppress(Exception):
        host.disconnect()
    host.connected = False
    client = getattr(host.connector, "client", None)
    if client is not None:
        # pyinfra leaves it open, and with it the ProxyCommand's process.
        with contextlib.suppress(Exception):
            client.close()


def reconnect(host: Any) -> bool:
    """One try to connect."""
    try:
        host.connect(show_errors=False)
    except Exception:
        # Of a ProxyCommand that ends at once not every way to fail is a ConnectError of pyinfra's.
        return False
    return bool(host.connected)
