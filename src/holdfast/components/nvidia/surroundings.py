"""What surrounds the driver on the machine: its settings and its daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.components.nvidia.checks import usable_gpus
from holdfast.components.nvidia.facts import NvidiaCards, NvidiaState
from holdfast.components.nvidia.files import PERSISTENCE
from holdfast.operations.place import Entry, Paths, differing, writing
from holdfast.operations.unit import UnitState, steps, systemctl


@operation()
def settings(entries: Sequence[Entry], source: str) -> Iterator[StringCommand]:
    """Write ``entries`` on a machine with cards and a driver, present or to come (``source``: the setting nvidia.source)."""
    machine = NvidiaState.recent(host)
    if machine is None:
        if not host.state.is_executing and host.get_fact(NvidiaCards).addresses:
            yield StringCommand("true")
        return
    if not usable_gpus(machine) or (source == "none" and not machine.library):
        host.noop("no NVIDIA GPU" if not machine.gpus else "no driver, and none is to be installed")
        return
    changed = differing(entries, Paths.read(host, paths=[e.path for e in entries], contents=[]))
    if not changed:
        host.noop(f"{len(entries)} paths are as they should be")
        return
    yield writing(changed)


@operation()
def persistence(config: str) -> Iterator[StringCommand]:
    """nvidia-persistenced runs with our settings (``config``: their hash) wherever a driver is loaded and has it."""
    machine = NvidiaState.recent(host)
    state = UnitState.read(host, unit=PERSISTENCE) if machine and machine.module and machine.gpus else None
    if not state or state.get("LoadState") != "loaded":
        host.noop("no driver is loaded, or it came without nvidia-persistenced")
        return
    # Pulled in by the servers, or by udev: Ubuntu's unit cannot be enabled.
    enabled = state.get("UnitFileState") in ("enabled", "disabled")
    todo = steps(state, config=config, enabled=enabled, running=True)
    if not todo:
        host.noop("nvidia-persistenced is as it should be")
        return
    yield systemctl(PERSISTENCE, todo)
