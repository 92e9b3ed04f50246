"""Who hears what is told: when nobody does any more, this program ends at once, and what it asked for and started with it."""

from __future__ import annotations

import os
import select
import signal
import threading


def end_with_listener(stream: int) -> None:
    """SIGTERM to ourselves as soon as the other end of ``stream`` is closed (Ctrl-C there, a connection that is gone).

    Without it an answer would be generated to its end, minutes with a long prompt, before the next word is told to nobody.
    """
    threading.Thread(target=_wait, args=(stream,), daemon=True).start()


def _wait(stream: int) -> None:
    poll = select.poll()
    poll.register(stream, 0)  # asks for nothing: that the other end is closed is told anyway (POLLERR, POLLHUP)
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)
