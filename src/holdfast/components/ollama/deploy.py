"""Ollama: one release, one hardened unit a role, each with its own port, environment and cards."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast import depot
from holdfast.components.ollama import files
from holdfast.components.ollama.install import install
from holdfast.components.ollama.instances import retire
from holdfast.components.ollama.leases import own_leases
from holdfast.components.ollama.operations import require_cuda
from holdfast.depot import Artifact, lock
from holdfast.errors import HoldfastError
from holdfast.operations.account import account
from holdfast.operations.answers import answers
from holdfast.operations.place import place
from holdfast.operations.require import require, unknowable
from holdfast.operations.unit import unit
from holdfast.settings import Workstation


@deploy("Ollama: first look")
def ollama_preflight(ws: Workstation) -> None:
    """Comes first of all: what is wrong here is said before anything is changed."""
    artifact, problem = _release(ws)
    require(name="Require a release of Ollama that can be checked", problem=problem)
    require_cuda(name="Require an Ollama that can use the cards", origin=artifact.origin if artifact else "")


@deploy("Ollama")
def ollama(ws: Workstation) -> None:
    """The program and its units; what runs goes on as it is."""
    artifact, problem = _release(ws)
    account(name="Create the account ollama", user="ollama", home="/var/lib/holdfast/ollama", groups=files.GROUPS)
    if artifact is not None:
        install(name="Install Ollama", artifact=artifact, dest=files.DEST, wrapper=files.wrapper())
    elif problem is not None:
        unknowable(name="Install Ollama", problem=problem)
    place(name="Write Ollama's units", entries=files.units(ws))
    own_leases(name="Keep the leases to the instances", directory=files.LEASES, user="ollama")
    retire(name="Remove instances that are no longer declared", declared=list(ws.instances))


@deploy("Ollama")
def run_ollama(ws: Workstation) -> None:
    """Every instance answers at the end; which models it has is the store's matter."""
    artifact, _ = _release(ws)
    # Without one, ollama_preflight stops an apply, and a plan still lists what waits for it: as changes, since what runs
    # now cannot be compared with what nobody knows.
    sha256 = artifact.sha256 if artifact else lock.UNVERIFIED
    place(name="Write Ollama's environments", entries=files.environments(ws, sha256))
    for role, instance in ws.instances.items():
        name = files.unit_name(role)
        config = files.config(ws, role, sha256)
        unit(name=f"Run the {role}", unit=name, config=config, program=files.PROGRAM)
        url = f"http://127.0.0.1:{instance.port}/api/version"
        answers(name=f"Wait for the {role}", url=url, timeout_s=ws.ollama.ready_timeout_s, unit=name)


def _release(ws: Workstation) -> tuple[Artifact | None, HoldfastError | None]:
    try:
        return depot.resolve("ollama", ws.depot), None
    except HoldfastError as error:
        return None, error
