"""A driver that works is neither taken out for a log of long ago, nor left without its module at the next boot in silence."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.nvidia.nearly import SET, machines, right
from tests.unit.nvidia.odd_states import OWN, WORKS, theirs, there
from tests.unit.nvidia.trees import (
    CARDS,
    Files,
    boot,
    debian,
    dpkg,
    headers,
    library,
    loaded,
    make_log,
    module,
    package,
    read,
    tree,
    ubuntu,
)
from tests.unit.nvidia.trees import N as VENDORS
from tests.unit.nvidia.walks import GONE, NEW, OLD, N, V, bare, dealt, lucky, walk, wants

from holdfast.cli import driver
from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.facts import read_machine
from holdfast.components.nvidia.installing import by_hand, to_install
from holdfast.components.nvidia.machine import Failure, Kernel, Machine, Package
from holdfast.components.nvidia.outlook import _repaired, foreseen, outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.repairing import given_up
from holdfast.components.nvidia.steps import Build, Install, Reboot, Repair, Stop, look, to_use

HALF = "nvidia-kernel-dkms"
BACKPORT = GONE


def half(machine: Machine, state: str = "iF", *others: str) -> Machine:
    """The power went while the driver's modules were set up; ``others``: packages of another kernel, whole."""
    packages = {**machine.packages, HALF: Package(HALF, V, state), **{n: Package(n, "7.3.4") for n in others}}
    return replace(machine, packages=packages, broken_packages=(HALF,))


def failed(kernel: str) -> Failure:
    return Failure("nvidia-current", V, kernel, "nv-pci.c:237: error: too few", "/log")


def with_backport(*half_installed: str) -> Machine:
    """A newer kernel that the driver does not build for waits for the next boot; the one that runs has its module."""
    names = (f"linux-image-{BACKPORT}", f"linux-headers-{BACKPORT}")
    machine = half(right(OLD), "iF", *names)
    states = {n: replace(machine.packages[n], state="iF") for n in half_installed}
    return replace(
        machine, packages={**machine.packages, **states}, broken_packages=(HALF, *half_installed), failures=(failed(BACKPORT),),
        kernels={**machine.kernels, BACKPORT: Kernel(BACKPORT, initrd=not half_installed, headers=True)}, next_kernel=BACKPORT,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["iF", "iU"])
@pytest.mark.parametrize("log", [GONE, OLD], ids=["of a kernel that is gone", "of a kernel that has its module by now"])
def test_a_log_of_long_ago_takes_no_driver_out(state: str, log: str) -> None:
    machine = replace(half(right(OLD), state), failures=(failed(log),))
    found = look(machine, Want())
    assert found.state == "broken_packages" and "does not build" not in found.reason, found
    end, steps = walk(machine, Want(), lucky())
    assert [type(step) for step in steps] == [Repair] and look(end, Want()).state == "ready"
    # It cannot be set up, nobody knows why: then apt's trouble is told, and the module stays where it is.
    end, steps = walk(machine, Want(), dealt("nothing"))
    last = steps[-1]
    assert isinstance(last, Stop) and "dpkg --configure -a" in last.fix and end == machine
    # The control: the log tells of the kernel that boots next, which has no module.
    bad = replace(machine, failures=(failed(OLD),), kernels={OLD: replace(machine.kernels[OLD], module="")})
    assert f"does not build for kernel {OLD}" in look(bad, Want()).reason


def test_the_same_as_a_machine_looks(tmp_path: Path) -> None:
    cut = package(HALF, V, "install ok half-configured")
    files: Files = {**WORKS, **make_log(BACKPORT), **dpkg(*there(OWN[0], *OWN[2:]), cut)}
    step = to_install(read(tmp_path, files), Want(), ())
    assert isinstance(step, Repair) and not step.purge


@pytest.mark.parametrize("broken", [(), (f"linux-image-{BACKPORT}",)], ids=["whole", "half-installed"])
def test_a_kernel_that_the_driver_does_not_build_for_goes_and_not_the_driver(broken: tuple[str, ...]) -> None:
    machine = with_backport(*broken)
    assert f"does not build for kernel {BACKPORT}" in look(machine, Want()).reason
    end, steps = walk(machine, Want(), dealt("nothing"))
    names = (f"linux-headers-{BACKPORT}", f"linux-image-{BACKPORT}")
    assert [step.purge for step in steps if isinstance(step, Repair)] == [(), names] and len(steps) == 2
    assert end.next_kernel == OLD and look(end, Want()).state == "ready"
    # The running kernel is never taken out, nor is one that nothing else could be booted in place of.
    for other in (replace(machine, kernel=BACKPORT), replace(machine, kernels={BACKPORT: machine.kernels[BACKPORT]})):
        second = to_install(other, Want(), (Repair("first"),))
        assert not isinstance(second, Repair) or not any("linux-image" in name for name in second.purge), second


def test_the_running_kernels_packages_are_never_taken_out() -> None:
    image = f"linux-image-{OLD}"
    machine = right(OLD, NEW)
    packages = {**machine.packages, image: Package(image, "6.12", "iF")}
    machine = replace(machine, packages=packages, broken_packages=(image,))
    # Its modules cannot be built, and their package can go; they are there, and nothing goes.
    bare = {**machine.kernels, OLD: replace(machine.kernels[OLD], module="")}
    blamed = to_install(replace(machine, failures=(failed(OLD),), kernels=bare), Want(), (Repair("first"),))
    assert isinstance(blamed, Repair) and blamed.purge == (HALF,)
    whole = to_install(machine, Want(), (Repair("first"),))
    assert isinstance(whole, Stop) and "dpkg --configure -a" in whole.fix
    # The control: another one's packages are.
    other = f"linux-image-{NEW}"
    packages = {**right(OLD).packages, other: Package(other, "6.12", "iF")}
    step = to_install(replace(machine, packages=packages, broken_packages=(other,)), Want(), (Repair("first"),))
    assert isinstance(step, Repair) and step.purge == (other,)


@pytest.mark.parametrize("log", [True, False])
def test_what_was_taken_out_is_said_once(log: bool) -> None:
    step = Repair(f"{HALF} cannot be set up: taken out again", (HALF,), failed(OLD) if log else None)
    told = given_up(right(OLD), step, Want()).why
    assert told.lower().count("taken out again") == told.count(HALF) == 1 and "apt works" in told, told
    assert ("does not build" in told) == log


def test_modules_that_had_to_go_are_an_error_however_well_the_old_one_still_runs() -> None:
    machine = replace(half(right(OLD)), kernels={OLD: replace(right(OLD).kernels[OLD], module="")}, failures=(failed(OLD),))
    end, steps = walk(machine, Want(), dealt("nothing"))
    assert [step.purge for step in steps if isinstance(step, Repair)] == [(), (HALF,)]
    assert look(end, Want()).works, "it is loaded still"
    last = steps[-1]
    assert isinstance(last, Stop) and last.state == "broken_packages" and "nvidia.source: nvidia" in last.fix
    assert f"does not build for kernel {OLD}" in last.why and "the machine boots, without a driver" in last.why


def test_a_purged_driver_leaves_no_module_in_a_plan() -> None:
    """Its scripts run `dkms remove --all`."""
    _, steps = walk(replace(half(right(OLD)), failures=(failed(OLD),),
                            kernels={OLD: replace(right(OLD).kernels[OLD], module=N)}), Want(), dealt("nothing"))  # fmt: skip
    purge = next(step for step in steps if isinstance(step, Repair) and step.purge)
    machine = half(right(OLD, NEW))
    assert {k.module for k in _repaired(machine, purge).kernels.values()} == {""}
    # The control: with the other kind's package beside it, the module is that one's.
    other = replace(machine, packages={**machine.packages, "nvidia-open-kernel-dkms": Package("nvidia-open-kernel-dkms", V)})
    assert {k.module for k in _repaired(other, purge).kernels.values()} == {V}


@given(machines(), wants, st.integers())
def test_no_way_that_ends_well_loses_the_next_boots_module(machine: Machine, want: Want, seed: int) -> None:
    had = machine.library != "" and machine.target.module == machine.library
    end, steps = walk(machine, want, random.Random(seed))
    if had and not (steps and isinstance(steps[-1], Stop)):
        assert end.target.module == end.library, steps


@given(machines(), wants, st.integers())
def test_nothing_is_taken_out_before_dpkg_has_tried(machine: Machine, want: Want, seed: int) -> None:
    repairs = [step for step in walk(machine, want, random.Random(seed))[1] if isinstance(step, Repair)]
    assert len(repairs) <= 2 and not any(step.purge for step in repairs[:1])
    assert not any(machine.kernel in name for step in repairs for name in step.purge)


LOST: Files = {**CARDS, **boot(OLD), **headers(OLD)}


@pytest.mark.parametrize(
    ("files", "package"),
    [
        ({**LOST, **debian(), **library(V), **loaded(V), **dpkg(*there(OWN[0], *OWN[2:]))}, HALF),
        (
            {**LOST, **debian("bookworm"), **library(VENDORS, ""), **loaded(VENDORS, "Open Kernel Module for x86_64 "),
             **dpkg(*theirs("nvidia-driver-cuda", "nvidia-persistenced"), package("linux-headers-amd64"))},
            "nvidia-kernel-open-dkms",
        ),
    ],
    ids=["Debian's", "NVIDIA's"],
)  # fmt: skip
def test_the_package_that_builds_modules_is_installed_again(tmp_path: Path, files: Files, package: str) -> None:
    machine = read(tmp_path, files)
    assert look(machine, Want()).works and look(machine, Want()).state == "next_kernel_broken"
    step = to_install(machine, Want(), ())
    assert isinstance(step, Install) and step.packages == (package,)
    end, stopped = foreseen(machine, Want())
    assert stopped is None and look(end, Want()).state == "ready"
    # The control: with the module there, what works is left alone.
    whole = replace(machine, kernels={OLD: replace(machine.kernels[OLD], module=machine.library)})
    assert to_install(whole, Want(), ()) is None


def test_without_a_package_that_builds_nothing_is_built() -> None:
    machine = replace(right(OLD, NEW), packages={n: Package(n, V) for n in SET if n != HALF})
    lost = replace(machine, kernels={k: replace(v, module="") for k, v in machine.kernels.items()})
    step = to_install(lost, Want(), (Install("", to_install(lost, Want(), ()).choice, ()),))  # type: ignore[union-attr]
    assert isinstance(step, Stop) and HALF in step.why and not isinstance(step, Build)


@pytest.mark.parametrize("more", [{}, headers(NEW)], ids=["no headers", "headers"])
def test_a_run_files_driver_that_works_is_left_to_its_file(tmp_path: Path, more: Files) -> None:
    files: Files = {
        **CARDS, **debian(), **boot(OLD, NEW), **module(OLD, VENDORS, "kernel/drivers/video/nvidia.ko"), **library(VENDORS, ""),
        **loaded(VENDORS), **more,
    }  # fmt: skip
    machine = read(tmp_path, files)
    assert look(machine, Want()).state == "next_kernel_broken" and look(machine, Want()).usable
    assert (to_install(machine, Want(), ()), to_use(machine, Want(), ())) == (None, None)
    assert f"sudo sh NVIDIA-Linux-x86_64-{VENDORS}.run -k {NEW}" in by_hand(machine, Want())


def test_a_next_kernel_whose_module_is_refused_keeps_the_findings_own_way_out(tmp_path: Path) -> None:
    """`dkms autoinstall` passes over what is built."""
    machine = right(OLD, NEW)
    secure = replace(machine, secure_boot=True, signatures_enforced=True, key=replace(machine.key, file="/k", enrolled=True))
    refused = replace(secure, kernels={**secure.kernels, NEW: replace(secure.kernels[NEW], signer="", signed=False)})
    found = look(refused, Want())
    assert found.state == "next_kernel_broken" and f"sudo dpkg-reconfigure {HALF}" in found.fix
    assert by_hand(refused, Want()) == ""


def test_a_newer_kernel_that_comes_with_ready_made_modules_is_in_the_plan() -> None:
    meta = "linux-image-generic"
    machine = replace(bare("ubuntu", "noble"), nouveau=False, packages={meta: Package(meta, "6.8.0-50.50")})
    step = to_install(machine, Want(), ())
    assert isinstance(step, Install)
    said = f"only if the archive's modules are for a newer kernel than {OLD}"
    assert outlook(machine, Want()) == f"reboot: {said}"
    assert outlook(machine, Want(here=True)).startswith("reboot: by you") and said in outlook(machine, Want(here=True))
    # The archive's is newer: as said, there comes a reboot; else none does.
    there = {**machine.packages, **{name: Package(name, N) for name in step.packages}}
    done = replace(machine, libraries=(N,), packages=there)
    newer = {OLD: Kernel(OLD, initrd=True), NEW: Kernel(NEW, initrd=True, module=N)}
    assert isinstance(to_use(replace(done, kernels=newer, next_kernel=NEW), Want(), ()), Reboot)
    assert not isinstance(to_use(replace(done, kernels={OLD: Kernel(OLD, initrd=True, module=N)}), Want(), ()), Reboot)
    # Debian's build for the kernel that is there: nothing of the kind is said.
    assert "archive" not in outlook(replace(bare("debian", "trixie"), nouveau=False), Want())
    assert classify(machine, {}, 550).state == "absent"


def test_a_module_that_hides_the_right_one_is_told_once(tmp_path: Path) -> None:
    name, ready = "linux-modules-nvidia-580-server-open-generic", "kernel/nvidia-580srv-open/nvidia.ko.zst"
    files: Files = {
        **CARDS, **ubuntu(), **boot(OLD, NEW), **library(VENDORS, ""), **loaded(VENDORS, "Open Kernel Module for x86_64 "),
        **module(OLD, VENDORS, ready), **module(NEW, VENDORS, ready),
        **module(NEW, V, "updates/dkms/nvidia.ko.zst"), **dpkg(*there(name, "linux-generic", version=VENDORS)),
    }  # fmt: skip
    said = driver.told(read_machine(str(tree(tmp_path, files))), Want())
    (only,) = said["findings"]
    assert only["message"].count("which boots next") == 1 and "it hides the" in only["message"], only
    assert "the driver works now" in only["message"] and f"dkms remove nvidia/{V} --all" in only["fix"]
