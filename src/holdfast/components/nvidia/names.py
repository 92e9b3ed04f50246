"""What a package's name tells: which make up a driver, which build its modules, which bring kernels. Pure.

Everything that asks for it has it from here: the readers on the machine too, with which `beginnings` and `kinds` travel.
"""

from __future__ import annotations

import re


def beginnings() -> tuple[str, ...]:
    """How the names of a driver's packages begin, whoever built them; some that stand beside it begin so, too (see DRIVER)."""
    return ("nvidia", "libnvidia", "libcuda1", "libcudadebugger1", "firmware-nvidia", "cuda-drivers", "linux-modules-nvidia")


def kinds() -> tuple[str, ...]:
    """The kernels that Ubuntu has metapackages of: linux-generic, linux-image-generic-hwe-24.04, linux-oem-24.04c, linux-aws."""
    return ("generic", "virtual", "lowlatency", "oem", "nvidia", "aws", "azure", "gcp", "oracle")


PINNED = (
    "nvidia-* libnvidia-* libcuda1 libcudadebugger1 libnvcuvid1 libnvoptix1 cuda-drivers* firmware-nvidia-* "
    "xserver-xorg-video-nvidia* libgl*-nvidia* libegl*-nvidia*"
)
"""The driver's own packages of NVIDIA's repository, as apt's preferences take them; it has much else, CUDA among it."""

# Beside the driver, and no part of it, whoever built it: containers, the CUDA toolkit, storage, what looks for a card, a
# desktop's settings, video in a browser.
_BESIDE = (
    "container|docker|cuda-(?!mps)|cudnn|cg-|detect|driver-assistant|egl-|fs|gds|gdrcopy|htop|installer-cleanup|nsight|"
    "opencl-dev|prime|profiler|settings|support|texture|vaapi-driver|visual-profiler|xconfig"
)
DRIVER = re.compile(rf"^(lib)?nvidia-(?!{_BESIDE})|^libcuda1$|^cuda-drivers|^linux-modules-nvidia-")

# Without which no driver works or no kernel boots, beside the driver itself.
NEEDED = re.compile(
    rf"{DRIVER.pattern}|^nvidia-(installer-cleanup|support)|^(glx-alternative|update-glx|firmware-nvidia)|^(dkms|kmod|libc6|dpkg|apt)$"
    r"|^linux-(?!libc-dev|doc|source|perf|tools|cpupower)|^(initramfs-tools|dracut|cryptsetup|lvm2|mdadm|grub|shim|systemd|udev)(-|$)"
)

# Whose installation builds modules: nvidia-kernel-dkms, nvidia-open-kernel-dkms, nvidia-dkms-580-open.
DKMS = re.compile(r"nvidia(?!-(?:fs|gdrcopy|headless)-)\S*-dkms|nvidia-dkms.*")

# linux-modules-nvidia-580-server-open-generic: the series, and whether its modules are the open ones.
PREBUILT = re.compile(r"linux-modules-nvidia-(\d{3})(?:-server)?(-open)?(?=-)")

# Ubuntu's metapackages of a kernel: its kind, and the release's newer one where it is that.
META = re.compile(rf"linux-(?:image-|headers-)?({'|'.join(kinds())})((?:-hwe)?(?:-[\d.]+[a-z]?)?)")
