"""Reading a machine through pyinfra's API, as a process of its own: pyinfra needs gevent's patches before anything else.

``python -m holdfast.cli.facts NAME`` prints one JSON object: what `status` shows.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from pyinfra.api import Config, Inventory, State  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.state import StateStage  # noqa: E402
from pyinfra.context import ctx_host, ctx_state  # noqa: E402

from holdfast.apply import connection  # noqa: E402
from holdfast.apply.proxycommand import mend_proxycommand  # noqa: E402
from holdfast.cli import driver  # noqa: E402
from holdfast.components.base.facts import Room  # noqa: E402
from holdfast.components.models import files as models  # noqa: E402
from holdfast.components.models import pins  # noqa: E402
from holdfast.components.models.facts import ModelStore  # noqa: E402
from holdfast.components.nvidia import updates  # noqa: E402
from holdfast.components.nvidia.classify import addressed  # noqa: E402
from holdfast.components.nvidia.deploy import want  # noqa: E402
from holdfast.components.nvidia.facts import NvidiaState  # noqa: E402
from holdfast.components.nvidia.updates import Updates  # noqa: E402
from holdfast.components.ollama.files import LEASES, unit_name  # noqa: E402
from holdfast.components.ollama.instances import Instances  # noqa: E402
from holdfast.components.ollama.leases import Leases  # noqa: E402
from holdfast.components.open_webui import files as open_webui  # noqa: E402
from holdfast.components.tailscale.facts import TailnetNode  # noqa: E402
from holdfast.errors import HoldfastError  # noqa: E402
from holdfast.operations.unit import UnitState  # noqa: E402
from holdfast.settings import Workstation, load  # noqa: E402
from holdfast.settings.inventory import connection as ssh_data  # noqa: E402


def units_of(ws: Workstation) -> list[str]:
    """The units that are to run."""
    tailnet = ["tailscaled.service"] if ws.tailscale.enabled else []
    return [*(unit_name(role) for role in ws.instances), open_webui.UNIT, *tailnet]


def read(host: Any, ws: Workstation) -> dict[str, Any]:
    """Everything, one round trip a fact."""
    recorded = NvidiaState.read(host, root="/")
    nvidia = None if recorded is None else {**driver.told(recorded, want(ws), ws.name), "recorded": recorded}
    if nvidia is not None:
        nvidia["updates"] = [addressed(line, ws.name) for line in updates.told(Updates.read(host, root="/"))]
    try:
        wanted = pins.pinned(ws)
    except HoldfastError:
        wanted = {}
    node = TailnetNode.node(host)
    return {
        "nvidia": nvidia,
        "units": {unit: UnitState.read(host, unit=unit) for unit in units_of(ws)},
        "leases": Leases.read(host, directory=LEASES),
        "undeclared": Instances.undeclared(host, list(ws.instances)),
        "models": ModelStore.read(host, store=ws.models.store, models=wanted, status=models.STATUS, unit=models.UNIT),
        "tailnet": {"version": node.version, "backend": node.backend, "name": node.name, "online": node.online,
                    "addresses": list(node.addresses), "problem": node.problem, "health": list(node.health)},
        "room": Room.read(host, paths=["/", ws.models.store]),
    }  # fmt: skip


def main(name: str) -> int:
    ws = load(name)
    mend_proxycommand()
    address = "@local" if ws.local else name
    inventory = Inventory(([(address, ssh_data(ws))], {}))
    state = State(inventory, Config())
    with ctx_state.use(state):
        state.set_stage(StateStage.Connect)
        try:
            connect_all(state)
        except PyinfraError:
            sys.stdout.write(json.dumps({"error": HoldfastError(f"{name} cannot be reached").data()}) + "\n")
            return 1
        state.set_stage(StateStage.Prepare)
        host = inventory.get_host(address)
        try:
            with ctx_host.use(host):
                connection.prepare(host, name)
                found = read(host, ws)
        except HoldfastError as error:
            found = {"error": error.data()}
        finally:
            connection.release(host)
            disconnect_all(state)
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
