"""Every state as a folder that looks like a machine: (files, state, words of the reason, words of the way out)."""

from __future__ import annotations

from tests.unit.nvidia.trees import (
    AUDIO,
    CARDS,
    ENFORCED,
    ENROLLED,
    KEY,
    NEW,
    NOUVEAU,
    OLD,
    OWN_KEY,
    READY,
    TO_ENROL,
    Files,
    N,
    V,
    boot,
    card,
    dpkg,
    headers,
    library,
    loaded,
    make_log,
    module,
    package,
)

HERE = {**CARDS, **boot(OLD), **module(OLD, V), **library(V)}
BACKPORT = "7.3.4+deb13-amd64"
BLACKWELL = {**card("0000:01:00.0", device="0x2b85"), **card("0000:02:00.0", device="0x2b85")}
PASCAL = card("0000:01:00.0", device="0x1b80")
OPEN = "Open Kernel Module for x86_64 "
# name: (files, state, words of the reason, words of the way out)
STATES: dict[str, tuple[Files, str, str, str]] = {
    "only a sound device": ({**AUDIO, **boot(OLD)}, "no_gpu", "no NVIDIA GPU", "require_gpu: false"),
    "nothing installed": ({**CARDS, **AUDIO, **boot(OLD)}, "absent", "no libcuda", "./holdfast up"),
    "nothing, nouveau": ({**CARDS, **boot(OLD), **NOUVEAU}, "absent", "nouveau holds the cards", "./holdfast up"),
    "Debian 12's own": (
        {**CARDS, **boot(OLD), **module(OLD, "535.261.03"), **library("535.261.03"), **loaded("535.261.03")},
        "absent",
        "535.261.03 is older than 550",
        "up",
    ),
    "installed, nouveau holds it": ({**HERE, **NOUVEAU}, "needs_reboot", "nouveau holds the cards", "sudo reboot"),
    "nouveau, and no module": ({**CARDS, **boot(OLD), **library(V), **NOUVEAU}, "needs_headers", "headers", OLD),
    "nouveau, module, no initrd": (
        {**CARDS, **boot(OLD, initrd=False), **module(OLD, V), **library(V), **NOUVEAU},
        "next_kernel_broken",
        "no initrd",
        "update-initramfs",
    ),
    "nothing loaded": (HERE, "needs_reload", "not loaded", "modprobe nvidia-uvm"),
    "signature enforced": ({**HERE, **ENFORCED}, "needs_key", "Secure Boot refuses", "mokutil --import"),
    "locked down": (
        {**HERE, "sys/kernel/security/lockdown": "none [integrity] confidentiality"},
        "needs_key",
        "no key",
        "Enroll MOK",
    ),
    "key made, not enrolled": (
        {**HERE, **ENFORCED, **OWN_KEY},
        "needs_key",
        "/var/lib/dkms/mok.pub",
        "--import /var/lib/dkms/mok.pub",
    ),
    "key waits for the blue menu": (
        {**HERE, **ENFORCED, **OWN_KEY, TO_ENROL: b"\7\0\0\0..." + KEY},
        "needs_key",
        "Secure Boot",
        "blue menu",
    ),
    "key enrolled": (
        {**HERE, **ENFORCED, **OWN_KEY, ENROLLED: b"\7\0\0\0..." + KEY},
        "needs_reload",
        "not loaded",
        "modprobe",
    ),
    "no headers, so nothing built": (
        {**CARDS, **boot(OLD), **library(V)},
        "needs_headers",
        "headers are not installed",
        f"linux-headers-{OLD}",
    ),
    "decoy of every kernel": (
        {**CARDS, **boot(OLD), **library(V), f"lib/modules/{OLD}/kernel/x86/nvidia-wmi-ec-backlight.ko.xz": "x"},
        "needs_headers",
        "no module for kernel",
        "linux-headers",
    ),
    "headers, and nothing built": (
        {**CARDS, **boot(OLD), **library(V), **headers(OLD)},
        "next_kernel_broken",
        "has no module",
        "./holdfast up",
    ),
    "headers, and the build fails": (
        {**CARDS, **boot(OLD), **library(V), **headers(OLD), **make_log(OLD)},
        "next_kernel_broken",
        f"{OLD}, which boots next, has no module: nvidia-current {V} does not build: nvidia/nv-pci.c:237",
        "make.log",
    ),
    "running has none, next has": (
        {**HERE, **boot(NEW), **module(NEW, V)}
        | {f"lib/modules/{OLD}/updates/dkms/nvidia-current.ko.xz.version": "1.0.0"},
        "needs_reboot",
        f"{NEW} has it",
        "reboot",
    ),
    "library newer, module built": (
        {**CARDS, **boot(OLD), **module(OLD, N, "updates/dkms/nvidia.ko.zst"), **library(N, ""), **loaded(V)},
        "needs_reload",
        f"module {V} is loaded, the libraries are {N}",
        "restart",
    ),
    "the same under a screen": (
        {**CARDS, **boot(OLD), **module(OLD, N), **library(N), **loaded(V), "sys/module/nvidia_drm/refcnt": "3\n"},
        "needs_reboot",
        "a screen uses the card",
        "reboot",
    ),
    "library newer, next kernel has it": (
        {**CARDS, **boot(OLD, NEW), **module(OLD, V), **module(NEW, N), **library(N), **loaded(V)},
        "needs_reboot",
        "has no module 580.178.04",
        "reboot",
    ),
    "library newer, build failed": (
        {**CARDS, **boot(OLD), **module(OLD, V), **library(N, ""), **loaded(V)},
        "next_kernel_broken",
        f"has module {V}, the libraries are {N}",
        "up",
    ),
    "ready": (READY, "ready", "matches", ""),
    "ready, open modules": ({**READY, **loaded(V, OPEN)}, "ready", "matches", ""),
    "ready, uvm not loaded": (
        {k: v for k, v in READY.items() if "uvm" not in k},
        "needs_reload",
        "nvidia-uvm is not loaded",
        "modprobe nvidia-uvm",
    ),
    "ready, newer kernel has it too": ({**READY, **boot(NEW), **module(NEW, V)}, "ready", "matches", ""),
    "ready, newer kernel lacks it": (
        {**READY, **boot(NEW)},
        "next_kernel_broken",
        f"works now; kernel {NEW}, which boots next, has no module: its headers",
        "up",
    ),
    "ready, newer kernel lacks its initrd": (
        {**READY, **boot(NEW, initrd=False), **module(NEW, V)},
        "next_kernel_broken",
        "has no initrd",
        "up",
    ),
    "ready, an older kernel is chosen": (
        {**READY, **boot(NEW), "etc/default/grub": f'GRUB_DEFAULT="gnulinux-advanced-1>gnulinux-{OLD}-advanced-1"\n'},
        "ready",
        "matches",
        "",
    ),
    "ready, the saved entry lacks it": (
        {
            **READY,
            **boot(NEW),
            **module(NEW, V),
            **boot("6.1.0-1-amd64"),
            "etc/default/grub": "GRUB_DEFAULT=saved\n",
            "boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=Advanced>Debian GNU/Linux, with Linux 6.1.0-1-amd64\n",
        },
        "next_kernel_broken",
        "kernel 6.1.0-1-amd64, which boots next, has no module",
        "up",
    ),
    "no kernel of its own": ({**CARDS, **library(V), **loaded(V)}, "ready", "matches", ""),
    "half-configured": (
        {**READY, **dpkg(package("a", status="install ok half-configured"))},
        "broken_packages",
        "half-installed packages: a",
        "dpkg --configure -a",
    ),
    "half-installed": (
        {**READY, **dpkg(package("a", status="install reinstreq half-installed"))},
        "broken_packages",
        "packages: a",
        "dpkg",
    ),
    "unpacked": (
        {**READY, **dpkg(package("a", status="install ok unpacked"))},
        "broken_packages",
        "packages: a",
        "dpkg",
    ),
    "held is whole": ({**READY, **dpkg(package("nvidia-kernel-dkms", V, "hold ok installed"))}, "ready", "matches", ""),
    "removed, its settings left": (
        {**READY, **dpkg(package("nvidia-smi", V, "deinstall ok config-files"))},
        "ready",
        "matches",
        "",
    ),
    "a kernel upgrade that failed": (
        {
            **READY,
            **boot(BACKPORT, initrd=False),
            **make_log(BACKPORT),
            **headers(BACKPORT),
            **dpkg(
                *(
                    package(f"linux-{kind}-{BACKPORT}", status="install ok half-configured")
                    for kind in ("image", "headers")
                ),
                package("linux-image-amd64", status="install ok unpacked"),
            ),
        },
        "broken_packages",
        f"does not build for kernel {BACKPORT}: nvidia/nv-pci.c:237:5: error: too few",
        "make.log",
    ),
    "libraries of two drivers": (
        {**READY, **library(N, "")},
        "broken_packages",
        f"several drivers are installed: {V}, {N}",
        "keep one",
    ),
    "Blackwell, proprietary": ({**READY, **BLACKWELL, **loaded(V)}, "absent", "older than 570", "up"),
    "Blackwell, 580 proprietary": (
        {**BLACKWELL, **boot(OLD), **module(OLD, N), **library(N), **loaded(N)},
        "absent",
        "it needs the open ones",
        "up",
    ),
    "Blackwell, 580 open": (
        {**BLACKWELL, **boot(OLD), **module(OLD, N), **library(N), **loaded(N, OPEN)},
        "ready",
        "matches",
        "",
    ),
    "Pascal, open modules": (
        {**PASCAL, **boot(OLD), **module(OLD, N), **library(N), **loaded(N, OPEN)},
        "absent",
        "open modules do not drive",
        "up",
    ),
    "Pascal, too new a branch": (
        {**PASCAL, **boot(OLD), **module(OLD, "595.58.03"), **library("595.58.03"), **loaded("595.58.03")},
        "absent",
        "no longer (Pascal: up to 580)",
        "up",
    ),
}
