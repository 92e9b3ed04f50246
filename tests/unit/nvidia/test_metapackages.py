"""A kernel that the driver does not build for is taken out; apt takes its metapackages along, and they stay out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.nvidia.nearly import HAPPENS, right
from tests.unit.nvidia.walks import NEW, OLD, N

from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Failure, Machine
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Install, Reload, Repair, look, to_use

METAS = ("linux-headers-amd64", "linux-image-amd64")
KERNEL = (f"linux-headers-{NEW}", f"linux-image-{NEW}")


def without(machine: Machine, *names: str) -> Machine:
    return replace(machine, packages={name: p for name, p in machine.packages.items() if name not in names})


@pytest.mark.parametrize("purged", [KERNEL, (*KERNEL, *METAS)])
def test_their_headers_are_not_fetched_again_to_fail_again(purged: tuple[str, ...]) -> None:
    failed = Failure("nvidia", N, NEW, "x.c:1: error: no", "/log")
    taken = (Repair("half-installed"), Repair("taken out again", purged, failed))
    left = without(right(OLD), *METAS)
    assert look(left, Want()).state == "ready" and to_install(left, Want(), taken) is None
    assert to_install(left, Want(), ()) is None, "nor by the next apply"
    updated = HAPPENS["libraries were updated"](left)
    assert to_install(updated, Want(), taken) is None
    assert isinstance(to_use(updated, Want(), ()), Reload), "the driver is whole, and comes into use in the same apply"


def test_where_new_kernels_come_their_headers_do() -> None:
    step = to_install(without(right(OLD), "linux-headers-amd64"), Want(), ())
    assert isinstance(step, Install) and step.packages == ("linux-headers-amd64",)


def test_that_no_kernel_comes_by_itself_is_told() -> None:
    assert not any("metapackage" in note for note in look(right(OLD), Want()).notes)
    assert any("metapackage" in note for note in look(without(right(OLD), *METAS), Want()).notes)
