"""Which modules the kernel will refuse: judged by the one that would be loaded, not by what else is installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import NVIDIA, SECURE, SHADOWED, there, without
from tests.unit.nvidia.trees import (
    CARDS,
    ENFORCED,
    ENROLLED,
    KEY,
    NEW,
    OLD,
    OWN_KEY,
    Files,
    N,
    boot,
    dpkg,
    library,
    loaded,
    module,
    read,
    ubuntu,
)

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.machine import Gpu, Kernel, Key, Machine, Package
from holdfast.components.nvidia.module_reader import told_by_modinfo
from holdfast.components.nvidia.outlook import outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.signing import CANONICAL, unsigned
from holdfast.components.nvidia.steps import Reboot, Reload, Stop, to_use

PREBUILT = "kernel/nvidia-580srv-open/nvidia.ko.zst"
BUILT = "updates/dkms/nvidia.ko.zst"
# Ubuntu with its ready-made modules under Secure Boot; nothing is loaded.
UBUNTU: Files = {**without(SHADOWED, "updates", "sys/module", "proc/driver"), **SECURE}


def signed(name: str, signer: str) -> Files:
    """As a recorded tree keeps what modinfo said of it; "" for a module without a signature."""
    return {f"lib/modules/{OLD}/{name}.signer": signer}


@pytest.mark.parametrize(
    ("files", "state", "words", "fix"),
    [
        (UBUNTU, "needs_reload", "not loaded", "./holdfast up"),
        ({**UBUNTU, **signed(PREBUILT, CANONICAL)}, "needs_reload", "not loaded", "./holdfast up"),
        # Built here without a signature: its own name and version are those of the packages', which are signed.
        (
            {**UBUNTU, **module(OLD, N, BUILT), **signed(BUILT, "")},
            "needs_key", f"refuses the module for kernel {OLD}: it has no signature", f"sudo dkms remove nvidia/{N} --all",
        ),
        (
            {**UBUNTU, **module(OLD, N, BUILT), **signed(BUILT, "DKMS module signing key")},
            "needs_key", "no key of this machine", "mokutil --import",
        ),
        # Not read: what was built here is not what Canonical has signed.
        ({**UBUNTU, **module(OLD, N, BUILT)}, "needs_key", "no key of this machine", "mokutil --import"),
        ({**UBUNTU, **module(OLD, N, BUILT), **OWN_KEY, ENROLLED: b"...." + KEY}, "needs_reload", "not loaded", "./holdfast up"),
        # An enrolled key is no signature.
        (
            {**CARDS, **ubuntu(), **boot(OLD), **library(N, ""), **module(OLD, N, BUILT), **signed(BUILT, ""), **SECURE,
             **OWN_KEY, ENROLLED: b"...." + KEY, **dpkg(*there("nvidia-dkms-580-open", version=N, maintainer=NVIDIA))},
            "needs_key", "it has no signature", "sudo dpkg-reconfigure nvidia-dkms-580-open; it builds the module again",
        ),
    ],
)  # fmt: skip
def test_the_module_that_would_be_loaded_is_judged(tmp_path: Path, files: Files, state: str, words: str, fix: str) -> None:
    found = classify(read(tmp_path, files), {}, 550)
    assert found.state == state and words in found.reason and fix in found.fix, found


def test_what_runs_was_accepted_by_a_kernel_that_asks_for_no_signature(tmp_path: Path) -> None:
    bare: Files = {**UBUNTU, **loaded(N), **module(OLD, N, BUILT), **signed(BUILT, "")}
    assert classify(read(tmp_path / "lax", bare), {}, 550).state == "ready"
    found = classify(read(tmp_path / "strict", {**bare, **ENFORCED}), {}, 550)
    assert found.state == "next_kernel_broken" and "will refuse the module: it has no signature" in found.reason and found.usable


@pytest.mark.parametrize(("is_signed", "built", "refused"), [(None, False, False), (None, True, True), (False, False, True)])
def test_any_package_of_ready_made_modules_signs_nothing(is_signed: bool | None, built: bool, refused: bool) -> None:
    name = "linux-modules-nvidia-580-open-generic"
    kernel = Kernel(OLD, initrd=True, module=N, signed=is_signed, built=built)
    here = Machine(secure_boot=True, key=Key("/mok.der"), kernel=OLD, kernels={OLD: kernel}, packages={name: Package(name, N)})
    assert unsigned(here, kernel) == refused


def test_what_modinfo_tells() -> None:
    """As kmod 34 says it of the module that Debian 13's DKMS has built (abridged), and of the same with its signature cut off."""
    said = (
        "filename:       /lib/modules/x/updates/dkms/nvidia-current.ko.xz\nalias:          char-major-195-*\n"
        "version:        550.163.01\nsupported:      external\nlicense:        NVIDIA\n"
        "vermagic:       6.12.117+deb13-amd64 SMP preempt mod_unload modversions \n"
    )
    signature = "sig_id:         PKCS#7\nsigner:         DKMS module signing key\nsig_hashalgo:   sha256\n"
    assert told_by_modinfo(said + signature) == {
        "module": "550.163.01", "signer": "DKMS module signing key", "signed": True,
    }  # fmt: skip
    assert told_by_modinfo(said) == {"module": "550.163.01", "signer": "", "signed": False}
    # One whose signer it cannot name; a machine without it.
    assert told_by_modinfo(said + "sig_id:         PKCS#7\nsigner:         \n")["signed"] is True
    assert told_by_modinfo("") == {"module": "", "signer": "", "signed": None}


OURS, ANOTHER = "DKMS module signing key", "a key that was made anew"


def booted(here: str, following: str, module: str = N, enrolled: bool = False) -> Machine:
    """``module`` is loaded; on disk the running kernel's is signed by ``here``, the next one's by ``following``."""
    kernels = {
        release: Kernel(release, initrd=True, headers=True, module=N, signer=signer, signed=True, built=True)
        for release, signer in ((OLD, here), (NEW, following))
    }
    return Machine(
        gpus=(Gpu("0000:01:00.0", "0x2204", "nvidia", bound=True),), distribution="debian", codename="trixie", kernel=OLD,
        next_kernel=NEW, kernels=kernels, module=module, uvm=True, libraries=(N,), secure_boot=True, signatures_enforced=True,
        key=Key("/var/lib/dkms/mok.pub", enrolled), packages={"nvidia-kernel-dkms": Package("nvidia-kernel-dkms", N)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("here", "following", "enrolled", "refused"),
    [
        (CANONICAL, OURS, False, True),
        (OURS, ANOTHER, False, True),
        (OURS, ANOTHER, True, False),
        (OURS, OURS, False, False),
        (OURS, CANONICAL, False, False),
    ],
)
def test_a_loaded_module_vouches_for_its_own_signer_alone(here: str, following: str, enrolled: bool, refused: bool) -> None:
    machine = booted(here, following, enrolled=enrolled)
    found = classify(machine, {}, 550)
    assert unsigned(machine, machine.kernels[NEW]) == refused
    assert (found.state, found.usable) == ("next_kernel_broken" if refused else "ready", True)
    assert ("mokutil --import" in found.fix) == refused
    # A kernel that asks for no signature has taken it: so will the next.
    assert not unsigned(replace(machine, signatures_enforced=False), machine.kernels[NEW])


def test_no_reboot_and_no_reload_into_a_module_that_will_be_refused() -> None:
    """The libraries are newer than what is loaded, and its file is exchanged: nobody knows any more who had signed that."""
    machine = booted(OURS, OURS, module="580.95.05")
    alone = replace(machine, next_kernel=OLD, kernels={OLD: machine.kernels[OLD]})
    for one in (machine, alone):
        step = to_use(one, Want(), ())
        assert isinstance(step, Stop) and step.state == "needs_key" and "mokutil --import" in step.fix, step
        assert not outlook(one, Want()).startswith(("reboot: yes", "reboot: only"))
    known = replace(machine, key=Key("/k", enrolled=True))
    assert isinstance(to_use(known, Want(), ()), Reload)
    gone = {**known.kernels, OLD: replace(known.kernels[OLD], module="")}
    assert isinstance(to_use(replace(known, kernels=gone), Want(), ()), Reboot)
    assert not isinstance(to_use(replace(machine, kernels=gone), Want(), ()), Reboot)
    # The distribution's own keys need nobody's word.
    ubuntus = {k: replace(v, signer=CANONICAL, built=False) for k, v in machine.kernels.items()}
    assert isinstance(to_use(replace(machine, kernels=ubuntus), Want(), ()), Reload)
