"""Another model for a role: the old one stays in service until the new one is there and has answered.

What is in service has a record of its own, role by role. Where another model is declared, the apply waits for its download, and
then a second server, with the environment that the role is to get, on a port that nobody knows, takes its turn on the cards and
asks the model for a token. Only then the role's own environment is written, its server restarted, and its clients told. Until
then nothing of the role is touched, so a model that cannot be had, or that does not answer, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.models.facts import missing
from holdfast.components.models.operations import Pull, waiting
from holdfast.components.ollama.trial import Trial, Tried
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.remote import PythonFact

IN_SERVICE = "/var/lib/holdfast/models-in-service.json"
"""Role -> manifest digest of the model that its server and clients were told, or that was tried and is about to take over."""


@dataclass(frozen=True)
class Ask:
    """A role, the manifest digest ("sha256:…") of the model that it is to have, and how that is tried."""

    role: str
    digest: str
    trial: Trial


def read_in_service(path: str, store: str = "") -> Any:
    """Runs on the host: role -> digest; with a `store` only of models that are there, which its manifest says, the last of a
    download. One that never came is in nobody's service."""
    import hashlib
    import json
    import os

    try:
        with open(path) as file:
            known = dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}
    if not store:
        return known
    there = set()
    for folder, _, names in os.walk(os.path.join(store, "manifests")):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as manifest:
                    there.add("sha256:" + hashlib.sha256(manifest.read()).hexdigest())
            except OSError:
                pass
    return {role: digest for role, digest in known.items() if digest in there}


def write_in_service(path: str, roles: dict[str, str]) -> str:
    """Runs on the host: `roles` is what read_in_service finds from now on. Returns the error, or ""."""
    import json
    import os

    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as file:
            json.dump(roles, file)
        os.replace(path + ".new", path)
    except OSError as error:
        return f"{error.filename or path}: {error.strerror}"
    return ""


class InService(PythonFact):
    """Which models are in service; see read_in_service."""

    reader = staticmethod(read_in_service)


class Noted(PythonFact):
    """A note of what is in service; see write_in_service. A fact by the way that it travels alone, as Tried."""

    reader = staticmethod(write_in_service)


@operation()
def change(pull: Pull, asks: Sequence[Ask], patience_s: float) -> Iterator[FunctionCommand]:
    """Where a role has another model in service than the declared one, wait until that is there and has answered.

    `patience_s` in seconds: without a new byte, and for one answer.
    """
    known = InService.read(host, path=IN_SERVICE, store=pull.store) or {}
    due = [ask for ask in asks if known.get(ask.role, ask.digest) != ask.digest]
    if not due:
        host.noop("no role gets another model")
        return
    wanted = {ask.trial.model: ask.digest for ask in due}
    if missing(pull.read(host), wanted):
        yield FunctionCommand(waiting, (replace(pull, models=wanted), patience_s), {})
    yield FunctionCommand(_try, (due, known, patience_s), {})


@operation()
def note(roles: Mapping[str, str]) -> Iterator[FunctionCommand]:
    """Keep which models (role -> digest) are in service now."""
    if (InService.read(host, path=IN_SERVICE) or {}) == dict(roles):
        host.noop("known")
        return
    yield FunctionCommand(_note, (roles,), {})


def _note(state: Any, host: Any, roles: Mapping[str, str]) -> bool:
    problem = Noted.read(host, path=IN_SERVICE, roles=dict(roles))
    if problem:
        message = f"cannot note which models are in service: {problem}"
        report(host, HoldfastError(message, where=host.name, fix="make room there (df -h /var/lib/holdfast), then apply again"))
    return not problem


def _try(state: Any, host: Any, due: Sequence[Ask], known: Mapping[str, str], patience_s: float) -> bool:
    for ask in due:
        model, unit = ask.trial.model, ask.trial.unit
        emit("waiting", host=host.name, what=f"an answer of {model}", seconds=0)
        problem = Tried.read(host, **asdict(ask.trial), timeout_s=patience_s)
        if problem:
            message = f"{model} does not answer as {ask.role}: {problem}"
            fix = (
                f"name another model, or the old one, which is still in service; what its server said, on the host: "
                f"journalctl -u {unit} -e"
            )
            report(host, HoldfastError(message, where=f"instances.{ask.role}.model", fix=fix))
            return False
        # At once: an apply that is cut off after this need not try it again.
        known = {**known, ask.role: ask.digest}
        if not _note(state, host, known):
            return False
    return True
