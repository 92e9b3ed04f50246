"""Machines in any state, what a step makes of one, and the way from there: for the tests of the steps."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import strategies as st

from holdfast.components.nvidia.boot import Boot
from holdfast.components.nvidia.checks import safe
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Failure, Gpu, Holder, Kernel, Key, Machine, Package
from holdfast.components.nvidia.names import DKMS
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
    to_use,
)

WINDOWS = Boot(other="GRUB boots 'Windows' next", fix="sudo grub-reboot 0")
V, N = "550.163.01", "580.95.05"
OLD, NEW = "6.12.107+deb13-amd64", "6.12.117+deb13-amd64"
# Its log is left, its packages are not.
GONE = "7.3.4+deb13-amd64"
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
    built=st.booleans(),
    hidden=versions,
)
packages = st.dictionaries(
    st.sampled_from([
        "nvidia-kernel-dkms", "nvidia-driver-cuda", "nvidia-kernel-open-dkms", "linux-modules-nvidia-580-server-open-generic",
        "nvidia-driver-580-open", f"linux-image-{NEW}", f"linux-image-{OLD}", "linux-headers-amd64", "libcuda1",
        "cups",
    ]),
    st.tuples(st.sampled_from(["ii", "ii", "hi", "iF", "iU"]), st.booleans()), max_size=4,
)  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    distribution, codename = draw(st.sampled_from(DISTRIBUTIONS))
    there = {n: Package(n, draw(versions) or V, state, vendor) for n, (state, vendor) in draw(packages).items()}
    both = {OLD: draw(kernels), **({NEW: replace(draw(kernels), release=NEW)} if draw(st.booleans()) else {})}
    devices = draw(st.lists(st.sampled_from(["0x2204", "0x2204", "0x2b85", "0x1b80", "0x1004", "0x1db1"]), max_size=2))
    broken = tuple(n for n, p in there.items() if not p.installed)
    failure = Failure(
        "nvidia-current", V, draw(st.sampled_from([OLD, NEW, GONE, ""])), "x.c:1: error: no", "/var/lib/dkms/x/make.log"
    )
    return Machine(
        gpus=tuple(
            Gpu(f"0000:0{n}:00.0", device, draw(st.sampled_from(["", "nvidia", "nouveau", "vfio-pci", "pci-stub"])),
                draw(st.sampled_from(["", "D3cold"])), draw(st.integers(0, 4)) > 0, draw(st.sampled_from([None, True, False])))
            for n, device in enumerate(devices)
        ),
        boot_free_mib=draw(st.sampled_from([None, 3, 900])), reboot_for=("libc6",) if draw(st.booleans()) else (),
        withheld=("0000:09:00.0",) if draw(st.booleans()) else (),
        distribution=distribution, codename=codename, nouveau=draw(st.booleans()), module=draw(versions),
        open_module=draw(st.booleans()), uvm=draw(st.booleans()), drm_users=draw(st.integers(0, 1)),
        libraries=tuple(sorted({v for v in (draw(versions), draw(versions)) if v})[: draw(st.integers(0, 2))]), kernel=OLD,
        next_kernel=draw(st.sampled_from(["", sorted(both)[-1], sorted(both)[-1]])), kernels=both,
        boot=draw(st.sampled_from([Boot(), Boot(), WINDOWS])),
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
            # A log of it, of whichever kernel.
            broke = dice.choice([*m.kernels, GONE])
            return replace(m, failures=(Failure("nvidia-current", m.library or V, broke, "x.c:1: error: no", "/log"),))
        left = {n: replace(p, state="ii") for n, p in m.packages.items() if n not in step.purge}
        kept = {k: v for k, v in m.kernels.items() if not any(n == f"linux-image-{k}" for n in step.purge)}
        # What DKMS has built goes with the last of its packages, and comes when one is set up.
        builders = [n for n in left if DKMS.fullmatch(n)]
        if any(DKMS.fullmatch(n) for n in step.purge) and not builders:
            kept = {k: replace(v, module=v.hidden, hidden="") if v.built else v for k, v in kept.items()}
        elif any(n in m.broken_packages for n in builders):
            kept = {k: replace(v, module=m.library, built=True) if v.headers else v for k, v in kept.items()}
        follows = m.next_kernel if m.next_kernel in kept else (sorted(kept)[-1] if m.next_kernel else "")
        return replace(m, packages=left, broken_packages=(), kernels=kept, next_kernel=follows, failures=())
    if isinstance(step, Install):
        if luck == "harm":
            failed = Failure("nvidia-current", N, m.target.release, "x.c:1: error: no", "/log")
            return replace(m, broken_packages=("nvidia-kernel-dkms",), failures=(failed,))
        version = {550: V, 580: N, 595: "595.58.03"}.get(step.choice.branch, f"{step.choice.branch}.1.1")
        there = {n: p for n, p in m.packages.items() if n not in step.remove}
        there |= {n: Package(n, version, vendor=bool(step.choice.vendor)) for n in step.packages}
        # Modules that come ready are for the newest kernel; DKMS builds for all that have headers.
        gets = {k for k, v in m.kernels.items() if k == m.target.release or (v.headers and not step.choice.prebuilt)}
        ready = {
            k: replace(v, headers=True, module=version, initrd=True) if k in gets else v for k, v in m.kernels.items()
        }
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
                assert not m.boot.other, "it would boot something else"
                assert safe(m) and not m.container and not want.here and want.reboot != "never"
                assert want.reboot == "always" or not (busy or m.passphrases)
            m = after(step, m, dice)
            taken = (*taken, step)
            if isinstance(step, Reboot):
                break
    return m, steps


def lucky() -> random.Random:
    dice = random.Random()
    dice.choice = lambda words: words[0]  # type: ignore[method-assign, assignment]
    return dice


def dealt(*words: str) -> random.Random:
    """What becomes of the first steps; all that follow go well."""
    given, dice = list(words), random.Random()
    dice.choice = lambda offered: given.pop(0) if given else offered[0]  # type: ignore[method-assign, assignment]
    return dice


def bare(distribution: str, codename: str, **more: object) -> Machine:
    kernel = Kernel(OLD, initrd=True)
    return Machine(
        gpus=(Gpu("0000:01:00.0", "0x2204"),), distribution=distribution, codename=codename, nouveau=True, kernel=OLD,
        next_kernel=OLD, kernels={OLD: kernel}, **more,  # type: ignore[arg-type]
    )  # fmt: skip
