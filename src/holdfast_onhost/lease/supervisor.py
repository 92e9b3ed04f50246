#!/usr/bin/python3 -I
"""supervisor.py: stands where Ollama starts llama-server, and takes turns on the GPUs with other instances.

It keeps Ollama's port and health for its whole life and owns the real llama-server as a child only while it holds the
lease of every GPU.  Ollama itself cannot give a model back while clients overlap (a request for a loaded model never
waits, server/sched.go), and it never notices a hand-over here.  Everything comes from the environment (settings.py).
"""

from __future__ import annotations

import os
import signal
import sys

if __package__ in (None, ""):  # run by its path, perhaps through a link: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))


def main(argv: list[str]) -> int:
    """Returns only if something is wrong; its last line of output is what Ollama tells its client."""
    if "--model" not in argv:
        # Ollama looks for devices, several times at a start: no lease, and nothing imported that is not needed.
        real = os.environ.get("HOLDFAST_LLAMA_SERVER", "")
        try:
            os.execv(real, [real or "llama-server", *argv])
        except OSError as error:
            problem = f"HOLDFAST_LLAMA_SERVER: {real!r}: {error.strerror}"
            print(f"error: {problem}. Fix: ./holdfast up HOST installs Ollama anew", file=sys.stderr)
            return 1
    from holdfast_onhost.lease.life import Supervisor, say
    from holdfast_onhost.lease.refusal import Refused
    from holdfast_onhost.lease.settings import Settings

    try:
        settings = Settings.read(os.environ)
        os.environ.update(settings.environment)
        Supervisor(settings, argv).run()
    except Refused as why:
        say(f"error: {why}")
    except OSError as error:  # of what nobody has thought; a traceback's last line would be all that a client sees
        say(f"error: {error}. Fix: journalctl -u ollama@{os.environ['HOLDFAST_INSTANCE']} -n 50 says what it was doing")
        raise
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    # Not sys.exit: threads that hold connections must not delay the end.
    os._exit(main(sys.argv[1:]))
