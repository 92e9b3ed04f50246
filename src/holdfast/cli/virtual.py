"""`up --vm`: the throw-away machine as a virtual one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.apply.result import Result
from holdfast.cli import hosts
from holdfast.cli.show import Shown

RELEASE = "trixie"


def lab_up(release: str | None, progress: Shown, models: Mapping[str, Path] | None) -> tuple[Any, str]:
    """The living throw-away machine's state, and what its virtual machine runs with: "kvm" or "tcg".

    With KVM it is a virtual machine from here on, and all of the apply meets its kernel. In software an apply from nothing
    would take hours: that goes into systemd-nspawn first (`moved`).
    """
    from holdfast.lab import state
    from holdfast.lab.vm.lab import VmLab

    living = state.read(hosts.LAB)
    lab = VmLab(hosts.LAB, release or (living.release if living else RELEASE))
    found = lab.up(progress, models)
    accelerator = lab.accelerator(progress)
    return (lab.into_vm(accelerator, progress) if accelerator == "kvm" else found), accelerator


def moved(found: Any, accelerator: str, progress: Shown, apply: Callable[[], Result]) -> Any:
    """The provisioned machine as a virtual one, after an apply there. Nothing to do where it is one already."""
    from holdfast.lab.vm.lab import VmLab

    if found.vm:
        return found
    found = VmLab(found.name, found.release).into_vm(accelerator, progress)
    with progress.phase("apply in the virtual machine"):
        result = apply()
    progress.note(f"in the virtual machine: {len(result.changed)} of {result.operations} operations changed something")
    return found
