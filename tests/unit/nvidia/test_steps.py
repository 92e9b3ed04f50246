"""From any state the way ends, in a driver that works or in a Stop with a name, with at most one reboot, never a blind one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.components.nvidia.checks import safe
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Failure, Gpu, Holder, Kernel, Key, Machine, Package
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import (
    Build,
    Image,
    Install,
    Load,
    Reboot,
    Reload,
    Repair,
    Resume,
    Step,
    Stop,
    Taken,
    ends,
    look,
    outlook,
    to_use,
)

V, N = "550.163.01", "580.95.05"
OLD, NEW = "6.12.107+deb13-amd64", "6.12.117+deb13-amd64"
DISTRIBUTIONS = [
    ("debian", "bookworm"),
    ("debian", "trixie"),
    ("ubuntu", "jammy"),
    ("ubuntu", "resolute"),
    ("arch", ""),
]
versions = st.sampled_from(["", "535.261.03", V, N, "595.58.03"])

kernels = st.builds(
    Kernel,
    st.just(OLD),
    initrd=st.booleans(),
    current=st.booleans(),
    headers=st.booleans(),
    module=versions,
    signer=st.sampled_from(["", "DKMS module signing key", "Canonical Ltd. Kernel Module Signing"]),
)
packages = st.dictionaries(
    st.sampled_from([
        "nvidia-kernel-dkms", "nvidia-driver-cuda", "nvidia-kernel-open-dkms", "linux-modules-nvidia-580-server-open-generic",
        "nvidia-driver-580-open", f"linux-image-{NEW}", "linux-headers-amd64", "libcuda1",
    ]),
    st.tuples(st.sampled_from(["ii", "ii", "hi", "iF", "iU"]), st.booleans()), max_size=4,
)  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    distribution, codename = draw(st.sampled_from(DISTRIBUTIONS))
    there = {n: Package(n, draw(versions) or V, state, vendor) for n, (state, vendor) in draw(packages).items()}
    both = {OLD: draw(kernels), **({NEW: replace(draw(kernels), release=NEW)} if draw(st.booleans()) else {})}
    devices = draw(st.lists(st.sampled_from(["0x2204", "0x2b85", "0x1b80"]), max_size=2))
    broken = tuple(n for n, p in there.items() if not p.installed)
    failure = Failure(
        "nvidia-current", V, draw(st.sampled_from([OLD, NEW, ""])), "x.c:1: error: no", "/var/lib/dkms/x/make.log"
    )
    return Machine(
        gpus=tuple(Gpu(f"0000:0{n}:00.0", device) for n, device in enumerate(devices)),
        distribution=distribution, codename=codename, nouveau=draw(st.booleans()), module=draw(versions),
        open_module=draw(st.booleans()), uvm=draw(st.booleans()), drm_users=draw(st.integers(0, 1)),
        libraries=tuple(sorted({v for v in (draw(versions), draw(versions)) if v})[: draw(st.integers(0, 2))]), kernel=OLD,
        next_kernel=draw(st.sampled_from(["", sorted(both)[-1], sorted(both)[-1]])), kernels=both,
        secure_boot=draw(st.booleans()), signatures_enforced=draw(st.booleans()),
        key=Key("/var/lib/dkms/mok.pub", draw(st.booleans()), draw(st.booleans())), packages=there, broken_packages=broken,
        failures=(failure,) if draw(st.booleans()) else (), stopped=("ollama@coder.service",) if draw(st.booleans()) else (),
        holders=(Holder(7, "python3", draw(st.sampled_from(["", "ollama@coder.service"]))),) if draw(st.booleans()) else (),
        passphrases=("root",) if draw(st.booleans()) else (), container=draw(st.integers(0, 4)) == 0,
    )  # fmt: skip


wants = st.builds(
    Want,
    source=st.sampled_from(["auto", "distribution", "nvidia", "none"]),
    branch=st.sampled_from([None, 550, 580, 595]),
    modules=st.sampled_from(["auto", "open", "proprietary"]),
    reboot=st.sampled_from(["auto", "never", "always"]),
    here=st.booleans(),
)


def after(step: Step, m: Machine, dice: random.Random) -> Machine:
    """What the step makes of the machine: what it should, nothing, or harm."""
    luck = dice.choice(["well", "well", "well", "nothing", "harm"])
    if isinstance(step, Resume):
        return replace(m, stopped=())
    if isinstance(step, Reboot):
        now = m.kernels[m.next_kernel]
        loads = luck == "well"
        return replace(m, kernel=m.next_kernel, module=now.module if loads else "", uvm=loads, nouveau=m.nouveau and not loads,
                       drm_users=0, holders=())  # fmt: skip
    if luck == "nothing":
        return m
    if isinstance(step, Repair):
        if luck == "harm" and not step.purge:
            return m
        left = {n: replace(p, state="ii") for n, p in m.packages.items() if n not in step.purge}
        kept = {k: v for k, v in m.kernels.items() if not any(n == f"linux-image-{k}" for n in step.purge)}
        follows = m.next_kernel if m.next_kernel in kept else (sorted(kept)[-1] if m.next_kernel else "")
        return replace(m, packages=left, broken_packages=(), kernels=kept, next_kernel=follows, failures=())
    if isinstance(step, Install):
        if luck == "harm":
            failed = Failure("nvidia-current", N, m.target.release, "x.c:1: error: no", "/log")
            return replace(m, broken_packages=("nvidia-kernel-dkms",), failures=(failed,))
        version = {550: V, 580: N}.get(step.choice.branch, f"{step.choice.branch}.1.1")
        there = {n: p for n, p in m.packages.items() if n not in step.remove}
        there |= {n: Package(n, version, vendor=bool(step.choice.vendor)) for n in step.packages}
        ready = {k: replace(v, headers=True, module=version, initrd=True) for k, v in m.kernels.items()}
        return replace(m, packages=there, libraries=(version,), kernels=ready)
    if isinstance(step, Build | Image):
        good = {"module": m.library} if isinstance(step, Build) else {"initrd": True, "current": True}
        if luck == "harm":
            return replace(m, failures=(Failure("nvidia", m.library, step.kernel, "x.c:1: error: no"),))
        return replace(m, kernels={**m.kernels, step.kernel: replace(m.kernels[step.kernel], **good)})
    assert isinstance(step, Load | Reload)
    if luck == "harm":
        return replace(m, module="", uvm=False)
    return replace(m, module=m.running.module, uvm=True)


def walk(m: Machine, want: Want, dice: random.Random, busy: str = "") -> tuple[Machine, list[Step]]:
    """As the operations go: install, bring into use, and after a reboot only look."""
    steps: list[Step] = []
    for decide in (to_install, lambda m, w, t: to_use(m, w, t, busy)):
        taken: Taken = ()
        while (step := decide(m, want, taken)) is not None:
            steps.append(step)
            assert len(taken) < 11, [type(s).__name__ for s in steps]
            if isinstance(step, Stop):
                return m, steps
            if isinstance(step, Reboot):
                assert safe(m) and not m.container and not want.here and want.reboot != "never"
                assert want.reboot == "always" or not (busy or m.passphrases)
            m = after(step, m, dice)
            taken = (*taken, step)
            if isinstance(step, Reboot):
                break
    return m, steps


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
    assert outlook(machine, want, bool(steps)).startswith("reboot: ")


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


def lucky() -> random.Random:
    dice = random.Random()
    dice.choice = lambda words: words[0]  # type: ignore[method-assign, assignment]
    return dice


def bare(distribution: str, codename: str, **more: object) -> Machine:
    kernel = Kernel(OLD, initrd=True)
    return Machine(
        gpus=(Gpu("0000:01:00.0", "0x2204"),), distribution=distribution, codename=codename, nouveau=True, kernel=OLD,
        next_kernel=OLD, kernels={OLD: kernel}, **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("distribution", "codename"), DISTRIBUTIONS[:-1])
def test_a_bare_machine_takes_one_reboot(distribution: str, codename: str) -> None:
    machine = bare(distribution, codename)
    end, steps = walk(machine, Want(), lucky())
    assert [type(step) for step in steps] == [Install, Reboot]
    assert look(end, Want()).state == "ready" or not end.open_module
    assert outlook(machine, Want(), True) == "reboot: yes, because nouveau holds the cards"


def test_on_this_very_computer_it_stops_before_the_reboot() -> None:
    machine, want = bare("debian", "trixie"), Want(here=True)
    end, steps = walk(machine, want, lucky())
    last = steps[-1]
    assert isinstance(last, Stop) and last.code == 3 and last.fix == "reboot, then the same command again"
    # Once rebooted, nothing of it is repeated.
    booted = after(Reboot(""), end, lucky())
    assert walk(booted, want, lucky())[1] == []
    assert "by you" in outlook(machine, want, True)


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


def test_a_container_does_not_reboot_for_its_hosts_kernel() -> None:
    inside = bare("debian", "trixie", container=True)
    _, steps = walk(inside, Want(reboot="always"), lucky())
    last = steps[-1]
    assert isinstance(last, Stop) and last.state == "needs_reboot" and "a container cannot reboot for it" in last.why
    assert "the machine that this one runs on" in last.fix
    assert "not done" in outlook(inside, Want(), True) and "yes" in outlook(bare("debian", "trixie"), Want(), True)


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
    dice = lucky()
    answers = iter(["nothing", "well"])
    dice.choice = lambda words: next(answers)  # type: ignore[method-assign, assignment]
    _, steps = walk(updated(), Want(), dice)
    assert [type(step) for step in steps] == [Reload, Reboot]


def test_a_kernel_that_the_driver_does_not_build_for_goes_and_the_driver_stays() -> None:
    backport = "7.3.4+deb13-amd64"
    names = (f"linux-headers-{backport}", f"linux-image-{backport}")
    machine = replace(
        updated(), module=N, open_module=False, next_kernel=backport, broken_packages=names,
        kernels={OLD: Kernel(OLD, initrd=True, headers=True, module=N), backport: Kernel(backport, headers=True)},
        failures=(Failure("nvidia-current", N, backport, "x.c:1: error: no", "/log"),),
    )  # fmt: skip
    end, steps = walk(machine, Want(), lucky())
    assert isinstance(steps[0], Repair) and steps[0].purge == names
    assert len(steps) == 1 and end.next_kernel == OLD and look(end, Want()).state == "ready"


def test_a_driver_that_does_not_build_is_taken_out_and_told() -> None:
    broken = {"nvidia-kernel-dkms": Package("nvidia-kernel-dkms", V, "iF")}
    failed = Failure("nvidia-current", V, OLD, "nv-pci.c:237: error: too few", "/log")
    more = {"packages": broken, "broken_packages": tuple(broken), "failures": (failed,), "libraries": (V,)}
    machine = bare("debian", "trixie", **more)
    _, steps = walk(machine, Want(), lucky())
    repair, last = steps
    assert isinstance(repair, Repair) and repair.purge == ("nvidia-kernel-dkms",)
    assert isinstance(last, Stop) and last.state == "broken_packages"
    assert f"does not build for kernel {OLD}: nv-pci.c:237: error: too few" in last.why and "apt works" in last.why
    assert "nvidia.source: nvidia" in last.fix and f"/var/log/holdfast-nvidia-{V}-{OLD}.log" in last.fix


def test_modules_of_the_other_kind_that_do_not_build_are_taken_out_at_once_and_the_driver_goes_on() -> None:
    """As on Debian 13 after `apt install nvidia-open-kernel-dkms`: both kinds have one version, and one of them is built."""
    names = ("linux-headers-amd64", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")
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
    end, steps = walk(machine, Want(), lucky())
    assert isinstance(steps[0], Repair) and steps[0].purge == ("nvidia-open-kernel-dkms",) and steps[0].failure == failed
    assert [type(step) for step in steps[1:]] == [Reboot] and "nvidia-kernel-dkms" in end.packages
    # Asked for by the settings, they are what is missing, and that is told.
    _, steps = walk(machine, Want(modules="open"), lucky())
    last = steps[-1]
    assert isinstance(last, Stop) and "nv-pci.c:237" in last.why and "nvidia.modules: auto" in last.fix
