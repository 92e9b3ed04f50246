"""Which modules the kernel will refuse: judged by the one that would be loaded, not by what else is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import NVIDIA, SECURE, SHADOWED, there, without
from tests.unit.nvidia.trees import (
    CARDS,
    ENFORCED,
    ENROLLED,
    KEY,
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
from holdfast.components.nvidia.machine import Kernel, Key, Machine, Package
from holdfast.components.nvidia.module_reader import told_by_modinfo
from holdfast.components.nvidia.signing import CANONICAL, unsigned

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
