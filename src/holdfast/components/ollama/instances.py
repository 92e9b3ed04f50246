"""Instances that are on the machine and no longer declared: found by any trace of them, ended before the declared start."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.components.ollama.files import ETC, SYSTEMD, TRIAL, unit_name
from holdfast.operations.remote import PythonFact
from holdfast.operations.unit import systemctl


def read_instances(systemd: str, etc: str) -> Any:
    """Runs on the host: the roles of which there is a drop-in, an environment, a link that starts it at boot, or a process."""
    import glob
    import os
    import subprocess

    roles = {os.path.basename(p)[7:-10] for p in glob.glob(os.path.join(systemd, "ollama@*.service.d"))}
    roles |= {os.path.basename(p)[:-4] for p in glob.glob(os.path.join(etc, "*.env"))}
    roles |= {os.path.basename(p)[7:-8] for p in glob.glob(os.path.join(systemd, "*.wants", "ollama@*.service"))}
    words = ["systemctl", "list-units", "--plain", "--no-legend", "--all", "--full"]
    words += ["--state=active,activating,reloading,deactivating", "ollama@*.service"]
    try:
        lines = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        lines = []
    names = [line.split()[0] for line in lines if line.strip()]
    roles |= {name[7:-8] for name in names if name.startswith("ollama@") and name.endswith(".service")}
    return sorted(roles - {""})


class Instances(PythonFact):
    """The roles that the machine has something of; see read_instances."""

    reader = staticmethod(read_instances)

    @classmethod
    def undeclared(cls, host: Any, declared: Sequence[str]) -> list[str]:
        """Those of ``host`` that no setting names; none on a machine without python3."""
        return [role for role in cls.read(host, systemd=SYSTEMD, etc=ETC) or () if role not in declared]


@operation()
def retire(declared: Sequence[str]) -> Iterator[StringCommand]:
    """Stop, disable and remove every instance on the machine that is not ``declared``: it may hold another's port or cards.

    Its files go last: after a cut the next apply still sees it. Its key (below /var/lib) stays, should it come back; of a trial
    that was cut off nothing does.
    """
    old = Instances.undeclared(host, declared)
    if not old:
        host.noop("no other instance is on the machine")
        return
    for role in old:
        unit = unit_name(role)
        yield systemctl(unit, ["stop", "unmask", "disable"])
        paths = [f"/run/holdfast/ollama/{role}.devices", f"{SYSTEMD}/{unit}.d", f"{ETC}/{role}.env"]
        if role.startswith(TRIAL):
            paths = [f"/var/lib/holdfast/ollama/{role}", f"/var/cache/holdfast/ollama/{role}", *paths]
        yield StringCommand("rm", "-rf", "--", *map(shlex.quote, paths))
    yield StringCommand("systemctl daemon-reload")
