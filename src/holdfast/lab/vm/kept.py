"""A virtual machine's disk is never removed but by `down`: everything its user has done is on it."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import state
from holdfast.lab.layout import Layout
from holdfast.lab.vm import layout as vm


def bootable(layout: Layout) -> bool:
    """Whether what the disk needs around it is there: the lab's networks, and what is known of the machine."""
    found = state.read(layout.name)
    around = all(Path("/run/netns", name).exists() for name in layout.namespaces.values())
    return bool(found and found.vm and around)


def require_no_disk(layout: Layout) -> None:
    """Raises HoldfastError where a start from nothing would remove the disk of a virtual machine that is off."""
    if not vm.disk(layout).exists():
        return
    if bootable(layout):
        raise HoldfastError(
            f"the throw-away machine {layout.name} is a virtual one that is off", where=str(vm.disk(layout)),
            fix="./holdfast up --vm switches it on; ./holdfast down removes it and its disk",
        )  # fmt: skip
    raise HoldfastError(
        f"the throw-away machine {layout.name} is a virtual one that is off and cannot be switched on: the networks around it "
        "are gone, as after a restart of this computer",
        where=str(vm.disk(layout)),
        fix=f"copy what you want to keep (debugfs {vm.disk(layout)}), then ./holdfast down, which removes the disk",
    )
