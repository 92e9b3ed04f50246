"""How fast the virtual machine can be: with this computer's own virtualisation where that works, else in software."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from holdfast.lab.vm.layout import QEMU
from holdfast.progress import QUIET, Progress

DEVICE = Path("/dev/kvm")
SECONDS = 10  # one that works needs one or two
# Debian's kernel says so when it has no disk to boot from: it got through its decompression, its drivers and its console.
MARK = "Unable to mount root"
# All of max: with "max,-svm" Debian 12's qemu (7.2) boots a Linux 6.12 in which every mount fails with EBUSY (3 of 3 tries).
TCG = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max")
KVM = ("-accel", "kvm", "-cpu", "host")


def words(accelerator: str) -> tuple[str, ...]:
    """qemu's options for "kvm" or "tcg"."""
    return {"kvm": KVM, "tcg": TCG}[accelerator]


def choose(kernel: Path, progress: Progress = QUIET) -> str:
    """ "kvm" where that boots ``kernel``, else "tcg", with the reason said."""
    why = refusal(kernel)
    if not why:
        return "kvm"
    progress.note(f"the virtual machine runs in software, many times slower: KVM {why}")
    return "tcg"


def refusal(kernel: Path, seconds: float = SECONDS) -> str:
    """Why KVM does not do here; "" where it does. It is tried with a real boot, since /dev/kvm may be there and not work."""
    if not DEVICE.exists():
        return f"is not there ({DEVICE})"
    return boot_fails(kernel, KVM, seconds)


def boot_fails(kernel: Path, accelerator: tuple[str, ...], seconds: float) -> str:
    """Boot ``kernel`` without a disk until it panics; why that did not go well, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        serial = Path(folder, "serial")
        argv = [
            QEMU, *accelerator, "-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{serial}",
            "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
        ]  # fmt: skip
        said = ""
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
            )
            said = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[0]
        except subprocess.TimeoutExpired:
            said = f"booted no kernel within {seconds:g} s"
        if serial.exists() and MARK in serial.read_text(errors="replace"):
            return ""
    return f"fails ({said})"
