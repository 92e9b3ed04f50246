"""`up --vm`: the throw-away machine as a virtual one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.apply.result import Result
from holdfast.cli import hosts
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError

# Open WebUI and Aider run on its Python; for Debian 13 uv fetches one, from github.com.
RELEASE = "bookworm"


def is_one(progress: Shown) -> bool:
    """Whether the throw-away machine is a virtual one, on or off: then it stays one, also without ``--vm``, and that is said."""
    from holdfast.lab.layout import Layout
    from holdfast.lab.vm import layout as vm

    there = vm.disk(Layout(hosts.LAB)).exists()
    if there:
        progress.note("the throw-away machine is a virtual one, and stays one (./holdfast down removes it and its disk)")
    return there


def release_of(release: str | None, progress: Shown) -> str:
    """The release asked for, else that of the machine there is. A dead one that is no virtual machine is made anew,
    with `RELEASE`, which is said. Raises HoldfastError before a disk of another release than the one asked for boots."""
    from holdfast.lab import state
    from holdfast.lab.layout import Layout
    from holdfast.lab.vm import layout as vm

    found = state.read(hosts.LAB)
    if found is None:
        return release or RELEASE
    if state.load(hosts.LAB) or vm.disk(Layout(hosts.LAB)).exists():
        if release and release != found.release:
            raise HoldfastError(
                f"the throw-away machine {hosts.LAB} is Debian {found.release}, not {release}",
                fix="leave out --release; or ./holdfast down, which removes it, then repeat",
            )
        return found.release
    if release is None and found.release != RELEASE:
        progress.note(f"what is left of a throw-away machine with Debian {found.release} is removed; the new one has {RELEASE}")
    return release or RELEASE


def lab_up(release: str | None, progress: Shown, models: Mapping[str, Path] | None) -> tuple[Any, str]:
    """The living throw-away machine's state, and what its virtual machine runs with: "kvm" or "tcg".

    With KVM it is a virtual machine from here on, and all of the apply meets its kernel. In software an apply from nothing
    would take hours: that goes into systemd-nspawn first (`moved`).
    """
    from holdfast.lab.vm.lab import VmLab

    lab = VmLab(hosts.LAB, release_of(release, progress))
    found = lab.up(progress, models)
    accelerator = lab.accelerator(progress)
    return (lab.into_vm(accelerator, progress) if accelerator == "kvm" else found), accelerator


def moved(
    found: Any, accelerator: str, before: Result, progress: Shown, apply: Callable[[], Result]
) -> tuple[Any, Result]:
    """The provisioned machine as a virtual one, after an apply there, and what that and the apply ``before`` it did.

    Nothing to do where it is one already.
    """
    from holdfast.lab.vm.lab import VmLab

    if found.vm:
        return found, before
    found = VmLab(found.name, found.release).into_vm(accelerator, progress)
    with progress.phase("apply in the virtual machine"):
        result = apply()
    progress.note(f"in the virtual machine: {len(result.changed)} of {result.operations} operations changed something")
    return found, both(before, result)


def both(first: Result, second: Result) -> Result:
    """Two applies of one `up` as one: what either changed counts."""
    seconds = {name: first.seconds.get(name, 0) + second.seconds.get(name, 0) for name in first.seconds | second.seconds}
    return Result(
        pending=[*first.pending, *second.pending], changed=[*first.changed, *second.changed],
        operations=first.operations + second.operations, seconds=seconds, diffs=[*first.diffs, *second.diffs],
        stops=[*first.stops, *second.stops],
    )  # fmt: skip
