"""Waiting until a service answers: readiness is an answered request, not an open port and not an active unit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.remote import PythonFact


def read_answer(url: str, unit: str) -> Any:
    """Runs on the host: the HTTP status of ``url`` (0: no answer), the unit's state and its last words."""
    import subprocess
    import urllib.error
    import urllib.request

    # No proxy: these are addresses of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=3) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError):
        status = 0
    out = {"status": status}
    if status != 200 and unit:
        show = ["systemctl", "show", "-p", "ActiveState", "--value", unit]
        out["active"] = subprocess.run(show, capture_output=True, text=True).stdout.strip()
        log = ["journalctl", "-u", unit, "-n", "12", "--no-pager", "-o", "cat"]
        out["journal"] = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    return out


class Answer(PythonFact):
    """What a URL answers on the host; see read_answer."""

    reader = staticmethod(read_answer)


def _wait(state: Any, host: Any, url: str, timeout_s: float, unit: str) -> bool:
    start = time.monotonic()
    while True:
        answer = Answer.read(host, url=url, unit=unit) or {"status": 0}
        spent = time.monotonic() - start
        if answer["status"] == 200:
            return True
        if answer.get("active") == "failed" or spent > timeout_s:
            why = "its unit failed" if answer.get("active") == "failed" else f"no 200 within {timeout_s:g} s"
            message = f"{url} does not answer: {why} (last status {answer['status']})"
            if answer.get("journal"):
                message += "\n  " + "\n  ".join(answer["journal"].splitlines()[-8:])
            fix = f"on the host: journalctl -u {unit or 'UNIT'} -e" if unit else "look at the service's log"
            report(host, HoldfastError(message, where=host.name, fix=fix))
            return False
        emit("waiting", host=host.name, what=url, seconds=round(spent, 1))
        time.sleep(0.3 if spent < 5 else 1)


@operation()
def answers(url: str, timeout_s: float = 120, unit: str = "") -> Iterator[FunctionCommand]:
    """Wait until ``url`` answers 200; no change when it does at once. ``timeout_s`` in seconds."""
    if (Answer.read(host, url=url, unit="") or {}).get("status") == 200:
        host.noop(f"{url} answers")
        return
    yield FunctionCommand(_wait, (url, timeout_s, unit), {})
