"""Machines that are as they should be but for a few things: there the steps lead somewhere. (`walks.machines`: any nonsense.)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from tests.unit.nvidia import walks
from tests.unit.nvidia.walks import GONE, NEW, OLD, WINDOWS, N, V

from holdfast.components.nvidia.machine import Failure, Gpu, Holder, Kernel, Key, Machine, Package

SIGNER = "DKMS module signing key"
SET = ("linux-headers-amd64", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")


def kernel_packages(*releases: str) -> tuple[str, ...]:
    """What apt has of these kernels, as every Debian has it: the metapackages too."""
    return ("linux-image-amd64", *(f"linux-{what}-{name}" for name in releases for what in ("image", "headers")))


def right(*releases: str) -> Machine:
    """Debian 13 with two 3090s, its own driver in use, and these kernels (`OLD` runs), all with module and initrd."""
    releases = releases or (OLD,)
    whole = {
        name: Kernel(name, initrd=True, headers=True, module=V, signer=SIGNER, signed=True, built=True) for name in releases
    }
    return Machine(
        gpus=tuple(Gpu(f"0000:0{n}:00.0", "0x2204", "nvidia", bound=True) for n in (1, 2)),
        distribution="debian", codename="trixie", module=V, uvm=True, libraries=(V,), kernel=releases[0],
        next_kernel=releases[-1], kernels=whole,
        packages={name: Package(name, V) for name in (*SET, *kernel_packages(*releases))},
    )  # fmt: skip


def _kernel(machine: Machine, release: str, **changes: Any) -> Machine:
    if release not in machine.kernels:
        return machine
    return replace(machine, kernels={**machine.kernels, release: replace(machine.kernels[release], **changes)})


def _bound(machine: Machine, driver: str) -> Machine:
    """Nothing of NVIDIA's is loaded; ``driver`` has the cards."""
    gpus = tuple(replace(gpu, driver=driver) for gpu in machine.gpus)
    return replace(machine, gpus=gpus, module="", uvm=False, nouveau=driver == "nouveau")


def _without_driver(machine: Machine) -> Machine:
    kernels = {name: replace(kernel, module="", signer="", signed=None) for name, kernel in machine.kernels.items()}
    return replace(_bound(machine, ""), libraries=(), packages={}, kernels=kernels)


# What happens to machines, by a name for a test that fails.
HAPPENS = {
    "no driver": _without_driver,
    "nothing is loaded": lambda m: _bound(m, ""),
    "nouveau has the cards": lambda m: _bound(m, "nouveau"),
    "libraries were updated": lambda m: replace(
        m, libraries=(N,), kernels={k: replace(v, module=N) for k, v in m.kernels.items()}
    ),
    "the running kernel lost its module": lambda m: _kernel(m, OLD, module=""),
    "the running kernel lost module and headers": lambda m: _kernel(m, OLD, module="", headers=False),
    "the next kernel has no module": lambda m: _kernel(m, NEW, module=""),
    "the next kernel has neither module nor headers": lambda m: _kernel(m, NEW, module="", headers=False),
    "the next kernel has no initrd": lambda m: _kernel(m, NEW, initrd=False),
    "the next kernel's module is not signed": lambda m: _kernel(m, NEW, signer="", signed=False),
    "its initrd is older than its module": lambda m: _kernel(m, NEW, current=False),
    "Secure Boot": lambda m: replace(m, secure_boot=True, signatures_enforced=True, key=Key("/var/lib/dkms/mok.pub")),
    "Secure Boot, enrolled": lambda m: replace(m, secure_boot=True, signatures_enforced=True, key=Key("/k", enrolled=True)),
    "Secure Boot, and nothing is loaded": lambda m: _bound(HAPPENS["Secure Boot"](m), ""),
    "the next kernel's module is signed with another key": lambda m: _kernel(m, NEW, signer="a key made anew"),
    "a log is left of a kernel that is gone": lambda m: replace(
        m, failures=(Failure("nvidia-current", V, GONE, "x.c:1: error: no", "/log"),)
    ),
    "no package builds modules any more": lambda m: replace(
        m, packages={n: p for n, p in m.packages.items() if n != "nvidia-kernel-dkms"}
    ),
    "half installed": lambda m: replace(
        m, packages={**m.packages, "nvidia-kernel-dkms": Package("nvidia-kernel-dkms", V, "iF")},
        broken_packages=("nvidia-kernel-dkms",),
    ),
    "a build has failed": lambda m: replace(m, failures=(Failure("nvidia-current", V, NEW, "x.c:1: error: no", "/log"),)),
    "uvm is not loaded": lambda m: replace(m, uvm=False),
    "a server holds the cards": lambda m: replace(m, holders=(Holder(7, "llama-server", "ollama@coder.service"),)),
    "a screen holds the cards": lambda m: replace(m, drm_users=1),
    "a disk asks for a passphrase": lambda m: replace(m, passphrases=("root",)),
    "Windows boots next": lambda m: replace(m, boot=WINDOWS),
    "a container": lambda m: replace(m, container=True),
    "no card": lambda m: replace(m, gpus=()),
}  # fmt: skip


@st.composite
def nearly_right(draw: st.DrawFn) -> Machine:
    machine = right(*draw(st.sampled_from([(OLD,), (OLD, NEW), (OLD, NEW)])))
    for what in draw(st.lists(st.sampled_from(sorted(HAPPENS)), max_size=3, unique=True)):
        machine = HAPPENS[what](machine)
    return machine


def machines() -> st.SearchStrategy[Machine]:
    """Nonsense as often as what is nearly right."""
    return st.one_of(walks.machines(), nearly_right())
