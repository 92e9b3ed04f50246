"""From any state the way ends, in a driver that works or in a Stop with a name, with at most one reboot, never a blind one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.unit.nvidia.nearly import machines
from tests.unit.nvidia.walks import DISTRIBUTIONS, NEW, OLD, N, V, after, bare, dealt, lucky, walk, wants

from holdfast.components.nvidia.classify import State
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Failure, Holder, Kernel, Machine, Package
from holdfast.components.nvidia.outlook import outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import (
    Install,
    Reboot,
    Reload,
    Repair,
    Step,
    Stop,
    ends,
    look,
)


@given(machines(), wants, st.integers(), st.sampled_from(["", "ollama@coder is answering"]))
def test_every_way_ends(machine: Machine, want: Want, seed: int, busy: str) -> None:
    end, steps = walk(machine, want, random.Random(seed), busy)
    assert sum(isinstance(step, Reboot) for step in steps) <= 1
    for step in steps:
        assert step.why
    last = steps[-1] if steps else None
    if isinstance(last, Stop):
        assert last.fix and last.error("gpu-box").render().startswith("error: NVIDIA driver: ")
    elif not isinstance(last, Reboot):
        found = look(end, want)
        assert found.works or found.state == "no_gpu", (found, steps)
        assert found.usable or found.state == "no_gpu" or found.lost or found.missing, "nothing is quietly unusable"
    assert outlook(machine, want).startswith("reboot: ")


@given(machines(), wants, st.integers())
def test_what_is_ready_is_left_alone(machine: Machine, want: Want, seed: int) -> None:
    end, steps = walk(machine, want, random.Random(seed))
    if steps and isinstance(steps[-1], Stop | Reboot):
        return
    assert walk(end, want, random.Random(seed)) == (end, [])


@given(machines(), wants)
def test_never_the_last_kernel_and_never_the_running_one(machine: Machine, want: Want) -> None:
    step = to_install(machine, want, ())
    if isinstance(step, Repair) and any(name.startswith("linux-image") for name in step.purge):
        assert not any(OLD in name for name in step.purge)
        assert machine.kernels[OLD].initrd


@pytest.mark.parametrize(("distribution", "codename"), DISTRIBUTIONS[:-1])
def test_a_bare_machine_takes_one_reboot(distribution: str, codename: str) -> None:
    machine = bare(distribution, codename)
    end, steps = walk(machine, Want(), lucky())
    assert [type(step) for step in steps] == [Install, Reboot]
    assert look(end, Want()).state == "ready"
    assert outlook(machine, Want()) == "reboot: yes, because nouveau holds the cards"


def test_on_this_very_computer_it_stops_before_the_reboot() -> None:
    machine, want = bare("debian", "trixie"), Want(here=True)
    end, steps = walk(machine, want, lucky())
    last = steps[-1]
    assert isinstance(last, Stop) and last.code == 3 and last.fix == "reboot, then the same command again"
    # Once rebooted, nothing of it is repeated.
    booted = after(Reboot(""), end, lucky())
    assert walk(booted, want, lucky())[1] == []
    assert "by you" in outlook(machine, want)


@pytest.mark.parametrize(
    ("more", "want", "busy", "words", "code"),
    [
        ({"passphrases": ("root",)}, Want(), "", "disk root asks for a passphrase", 3),
        ({"passphrases": ("root",)}, Want(reboot="always"), "", "", 0),
        ({}, Want(), "ollama@coder is answering", "not now: ollama@coder is answering", 1),
        ({}, Want(reboot="always"), "ollama@coder is answering", "", 0),
        ({}, Want(reboot="never"), "", "nouveau holds the cards", 3),
    ],
)
def test_what_keeps_from_a_reboot(more: dict[str, object], want: Want, busy: str, words: str, code: int) -> None:
    _, steps = walk(bare("debian", "trixie", **more), want, lucky(), busy)
    last = steps[-1]
    if code == 0:
        assert isinstance(last, Reboot)
    else:
        assert isinstance(last, Stop) and words in last.why and last.code == code and "--reboot" in last.fix


def test_a_driver_that_a_person_keeps_to_herself_is_not_rebooted_for() -> None:
    machine, mine = replace(updated(), module="", uvm=False, nouveau=True), Want(source="none")
    assert outlook(machine, Want()).startswith("reboot: yes") and outlook(machine, mine) == "reboot: no"
    assert isinstance(walk(machine, mine, lucky())[1][-1], Stop)


def test_a_container_does_not_reboot_for_its_hosts_kernel() -> None:
    inside = bare("debian", "trixie", container=True)
    _, steps = walk(inside, Want(reboot="always"), lucky())
    last = steps[-1]
    assert isinstance(last, Stop) and last.state == "needs_reboot" and "a container cannot reboot for it" in last.why
    assert "the machine that this one runs on" in last.fix
    assert "not done" in outlook(inside, Want()) and "yes" in outlook(bare("debian", "trixie"), Want())


@pytest.mark.parametrize(
    ("required", "code", "over"), [(True, 1, True), (True, 3, True), (False, 3, True), (False, 1, False)]
)
def test_a_stop_ends_the_apply_where_cards_are_required_or_a_person_must_reboot(
    required: bool, code: int, over: bool
) -> None:
    assert ends(Stop("needs_reboot", "why", "fix", code=code), Want(required=required)) is over


def updated(**more: object) -> Machine:
    """Libraries and module on disk are newer than what is loaded."""
    kernel = Kernel(OLD, initrd=True, headers=True, module=N)
    there = {n: Package(n, N) for n in ("nvidia-kernel-dkms", "libcuda1", "nvidia-smi", "libnvidia-cfg1", "nvidia-persistenced",
                                        "linux-headers-amd64")}  # fmt: skip
    given: dict[str, object] = {"holders": (Holder(7, "llama-server", "ollama@coder.service"),), **more}
    return replace(bare("debian", "trixie"), nouveau=False, module=V, uvm=True, libraries=(N,), kernels={OLD: kernel},
                   packages=there, **given)  # type: ignore[arg-type]  # fmt: skip


def test_an_update_is_reloaded_without_a_reboot() -> None:
    end, steps = walk(updated(), Want(), lucky())
    assert steps == [Reload(f"module {V} is loaded, the libraries are {N}", ("ollama@coder.service",))]
    assert look(end, Want()).state == "ready"


def test_a_reload_that_fails_becomes_one_reboot() -> None:
    _, steps = walk(updated(), Want(), dealt("nothing"))
    assert [type(step) for step in steps] == [Reload, Reboot]


def test_a_kernel_that_the_driver_does_not_build_for_goes_and_the_driver_stays() -> None:
    backport = "7.3.4+deb13-amd64"
    names = (f"linux-headers-{backport}", f"linux-image-{backport}")
    machine = replace(
        updated(), module=N, open_module=False, next_kernel=backport, broken_packages=names,
        kernels={OLD: Kernel(OLD, initrd=True, headers=True, module=N), backport: Kernel(backport, headers=True)},
        failures=(Failure("nvidia-current", N, backport, "x.c:1: error: no", "/log"),),
    )  # fmt: skip
    end, steps = walk(machine, Want(), dealt("nothing"))
    assert [step.purge for step in steps if isinstance(step, Repair)] == [(), names]
    assert len(steps) == 2 and end.next_kernel == OLD and look(end, Want()).state == "ready"


def test_a_driver_that_does_not_build_is_taken_out_and_told() -> None:
    broken = {"nvidia-kernel-dkms": Package("nvidia-kernel-dkms", V, "iF")}
    failed = Failure("nvidia-current", V, OLD, "nv-pci.c:237: error: too few", "/log")
    more = {"packages": broken, "broken_packages": tuple(broken), "failures": (failed,), "libraries": (V,)}
    machine = bare("debian", "trixie", **more)
    _, steps = walk(machine, Want(), dealt("nothing"))
    _, repair, last = steps
    assert isinstance(repair, Repair) and repair.purge == ("nvidia-kernel-dkms",)
    assert isinstance(last, Stop) and last.state == "broken_packages"
    assert f"does not build for kernel {OLD}: nv-pci.c:237: error: too few" in last.why and "apt works" in last.why
    assert "nvidia.source: nvidia" in last.fix and f"/var/log/holdfast-nvidia-{V}-{OLD}.log" in last.fix


def test_modules_of_the_other_kind_that_do_not_build_are_taken_out_and_the_driver_goes_on() -> None:
    """As on Debian 13 after `apt install nvidia-open-kernel-dkms`: both kinds have one version, and one of them is built."""
    names = (
        "linux-headers-amd64",
        "nvidia-kernel-dkms",
        "nvidia-smi",
        "libcuda1",
        "libnvidia-cfg1",
        "nvidia-persistenced",
    )
    there = {name: Package(name, V) for name in names} | {
        "nvidia-open-kernel-dkms": Package("nvidia-open-kernel-dkms", V, "iF")
    }
    failed = Failure("nvidia-current-open", V, OLD, "nv-pci.c:237: error: too few", "/log")
    built = {OLD: Kernel(OLD, initrd=True, headers=True, module=V)}
    machine = replace(
        bare("debian", "trixie"), packages=there, broken_packages=("nvidia-open-kernel-dkms",), failures=(failed,),
        libraries=(V,), kernels=built,
    )  # fmt: skip
    found = look(machine, Want())
    assert found.state == "broken_packages" and f"does not build for kernel {OLD}: nv-pci.c:237" in found.reason
    end, steps = walk(machine, Want(), dealt("nothing"))
    taken_out = steps[1]
    assert isinstance(taken_out, Repair) and taken_out.purge == ("nvidia-open-kernel-dkms",) and taken_out.failure == failed
    assert [type(step) for step in steps[2:]] == [Reboot] and "nvidia-kernel-dkms" in end.packages
    # Asked for by the settings, they are what is missing, and that is told.
    _, steps = walk(machine, Want(modules="open"), dealt("nothing"))
    last = steps[-1]
    assert isinstance(last, Stop) and "nv-pci.c:237" in last.why and "nvidia.modules: auto" in last.fix


def idle() -> Machine:
    """All is installed, and nouveau has the cards."""
    return replace(updated(), module="", uvm=False, nouveau=True, holders=())


HALF = {"libcuda1": Package("libcuda1", V, "iF")}


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        # Debian: the modules are yet to be built, dpkg or an initrd to be finished; then nouveau holds the cards.
        (replace(idle(), kernels={OLD: Kernel(OLD, initrd=True, headers=True)}), "nouveau holds the cards"),
        (replace(idle(), packages=HALF, broken_packages=tuple(HALF)), "nouveau holds the cards"),
        (replace(idle(), kernels={OLD: Kernel(OLD, headers=True, module=N)}), "nouveau holds the cards"),
        # Built for the kernel that waits, whose headers alone are there.
        (replace(updated(), next_kernel=NEW,
                 kernels={OLD: Kernel(OLD, initrd=True, module=V), NEW: Kernel(NEW, initrd=True, headers=True)}),
         f"kernel {OLD}, which runs, has no module {N}"),
        # Ubuntu: modules that come ready are for the newest kernel, whatever headers there are.
        (replace(bare("ubuntu", "noble"), nouveau=False, next_kernel=NEW,
                 kernels={k: Kernel(k, initrd=True, headers=True) for k in (OLD, NEW)}),
         f"kernel {OLD}, which runs, has no module; {NEW} has it"),
    ],
    ids=["build", "repair", "initrd", "next kernel", "ready-made modules"],
)  # fmt: skip
def test_a_reboot_behind_other_steps_is_announced(machine: Machine, why: str) -> None:
    said = outlook(machine, Want())
    assert said.startswith("reboot: yes, because ") and why in said
    _, steps = walk(machine, Want(), lucky())
    assert len(steps) > 1 and isinstance(steps[-1], Reboot), steps


@given(machines(), wants)
def test_where_all_goes_well_the_announcement_is_kept(machine: Machine, want: Want) -> None:
    """Neither a reboot that was not announced, nor an announced one that does not come."""
    _, steps = walk(machine, want, lucky())
    rebooted = bool(steps) and isinstance(steps[-1], Reboot)
    assert outlook(machine, want).startswith("reboot: yes") == rebooted, (outlook(machine, want), steps)


def test_the_ways_that_are_walked_lead_through_every_state_and_every_step() -> None:
    """A property that is never met proves nothing: here are the same machines, drawn with a seed of their own."""
    met: set[str] = set()

    @seed(3)
    @settings(max_examples=400, database=None, derandomize=False)
    @given(machines(), st.integers())
    def draw(machine: Machine, dice: int) -> None:
        want = Want(gpus={})
        met.add(look(machine, want).state)
        met.update(type(step).__name__ for step in walk(machine, want, random.Random(dice))[1])

    draw()
    assert set(get_args(State)) <= met, set(get_args(State)) - met
    assert {kind.__name__ for kind in get_args(Step)} <= met, met
