"""Another model for a role: the old one stays in service until the new one is there and has answered.

Servers see a new model at once, and keep the old one; what changes hands is what the clients ask for. So where somebody may
be in service with a model that is declared no longer, the wait comes before the clients are written and not at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.models.facts import missing
from holdfast.components.models.operations import Pull, waiting
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.remote import PythonFact

ANSWERED = "/var/lib/holdfast/models-answered.json"
"""Role -> manifest digest of the model that has answered there; only where a model was changed."""


@dataclass(frozen=True)
class Ask:
    """A role and the model that is to answer on its port; `digest` is its manifest's ("sha256:…")."""

    role: str
    port: int
    model: str
    digest: str


def read_answered(path: str) -> Any:
    """Runs on the host: role -> digest."""
    import json

    try:
        with open(path) as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


class Answered(PythonFact):
    """Which models have answered; see read_answered."""

    reader = staticmethod(read_answered)


def ask_model(role: str, port: int, model: str, digest: str, path: str, timeout_s: float) -> Any:
    """Runs on the host: asks `model` for one token and, when it answers, notes that at `path`. Returns the error, or ""."""
    import json
    import os
    import urllib.error
    import urllib.request

    body = {"model": model, "prompt": "1", "stream": False, "options": {"num_predict": 1}}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/generate", json.dumps(body).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            done = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.read(500).decode('utf-8', 'replace')}"
    except (OSError, ValueError) as error:
        return str(error)
    if not done.get("done"):
        return f"no whole answer: {str(done)[:200]}"
    try:
        with open(path) as file:
            known = dict(json.load(file))
    except (OSError, ValueError, TypeError):
        known = {}
    known[role] = digest
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as file:
        json.dump(known, file)
    os.replace(path + ".new", path)
    return ""


class Asked(PythonFact):
    """What a model says when it is asked; see ask_model."""

    reader = staticmethod(ask_model)


@operation()
def change(pull: Pull, asks: Sequence[Ask], patience_s: float) -> Iterator[FunctionCommand]:
    """Where other models than the declared ones are in the store, wait until the declared ones are there and have answered.

    `patience_s` in seconds: without a new byte, and for one answer.
    """
    found = pull.read(host)
    if not found or not found["undeclared"]:
        host.noop("no other model is in service")
        return
    answered = Answered.read(host, path=ANSWERED) or {}
    due = [ask for ask in asks if answered.get(ask.role) != ask.digest]
    if not due and not missing(found, pull.models):
        host.noop("the declared models are in service")
        return
    yield FunctionCommand(waiting, (pull, patience_s), {})
    yield FunctionCommand(_ask, (due, patience_s), {})


def _ask(state: Any, host: Any, due: Sequence[Ask], patience_s: float) -> bool:
    for ask in due:
        emit("waiting", host=host.name, what=f"an answer of {ask.model}", seconds=0)
        problem = Asked.read(host, **asdict(ask), path=ANSWERED, timeout_s=patience_s)
        if problem:
            message = f"{ask.model} does not answer as {ask.role}: {problem}"
            fix = f"the old model is still in service; on the host: journalctl -u ollama@{ask.role} -e"
            report(host, HoldfastError(message, where=f"instances.{ask.role}.model", fix=fix))
            return False
    return True
