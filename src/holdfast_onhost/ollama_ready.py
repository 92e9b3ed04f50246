#!/usr/bin/python3
"""ollama_ready.py: waits until the server on 127.0.0.1:$HOLDFAST_PORT has answered GET /api/version.

An open port is not enough: Ollama accepts connections before it answers, and looks for GPUs in between.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time


def answers(port: int, timeout_s: float) -> str:
    """Empty if the server answers, else why not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/api/version")
        status = connection.getresponse().status
        return "" if status == 200 else f"HTTP {status}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ollama_ready.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wait", type=float, default=120, metavar="SECONDS")
    given = parser.parse_args(arguments)
    port = int(os.environ["HOLDFAST_PORT"])
    end = time.monotonic() + given.wait
    while True:
        problem = answers(port, timeout_s=min(5.0, given.wait))
        if not problem:
            return 0
        if time.monotonic() >= end:
            print(f"error: 127.0.0.1:{port} has not answered within {given.wait:g} s: {problem}", file=sys.stderr)
            print("Fix: the lines above say what it was doing; ollama.ready_timeout_s in hosts.yml", file=sys.stderr)
            return 1
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
