"""One list of what makes up a driver, for all that ask: what is read, pinned, kept from updating itself, and told as waiting."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.unit.nvidia.trees import CARDS, OLD, Files, boot, debian, dpkg, headers, package, read

from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.names import DRIVER, META, NEEDED, PINNED, beginnings
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Install, Stop

OWN = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced", "nvidia-driver-cuda")
UBUNTU = ("linux-modules-nvidia-580-open-generic", "nvidia-headless-no-dkms-580-server-open", "libnvidia-compute-580")
BESIDE = ("nvidia-container-toolkit", "libnvidia-container1", "nvidia-cuda-toolkit", "nvidia-fs-dkms", "cups", "libcups2")
TOOLS = (
    "nvidia-vaapi-driver",
    "nvidia-driver-assistant",
    "nvidia-settings",
    "nvtop",
    "nvidia-detect",
    "nvidia-prime",
    "nvidia-xconfig",
)


@pytest.mark.parametrize("name", [*OWN, *UBUNTU])
def test_a_drivers_package_is_one_to_all_who_ask(tmp_path: Path, name: str) -> None:
    assert DRIVER.match(name) and NEEDED.match(name) and name.startswith(beginnings())
    assert name in read(tmp_path, dpkg(package(name))).packages
    # Of NVIDIA's repository, where there are no ready-made modules.
    assert any(fnmatchcase(name, glob) for glob in PINNED.split()) != name.startswith("linux-")


@pytest.mark.parametrize("name", [*BESIDE, *TOOLS])
def test_what_stands_beside_it_is_none(name: str) -> None:
    assert not DRIVER.match(name) and not NEEDED.match(name)


def test_what_stands_beside_it_keeps_no_first_install_away(tmp_path: Path) -> None:
    """Debian 12, whose driver is NVIDIA's: a package of Debian's own driver is a mixture, a tool is none."""
    bare: Files = {**CARDS, **debian("bookworm"), **boot(OLD), **headers(OLD)}
    step = to_install(read(tmp_path / "tools", {**bare, **dpkg(*map(package, TOOLS))}), Want(), ())
    assert isinstance(step, Install) and step.choice.vendor, step
    mixed = to_install(read(tmp_path / "mixed", {**bare, **dpkg(*map(package, [*TOOLS, "nvidia-smi"]))}), Want(), ())
    assert isinstance(mixed, Stop) and "mixed with packages from the distribution: nvidia-smi" in mixed.why, mixed


@pytest.mark.parametrize("name", ["linux-generic", "linux-image-generic-hwe-24.04", "linux-headers-oem-24.04c", "linux-aws"])
def test_what_brings_kernels(tmp_path: Path, name: str) -> None:
    assert META.fullmatch(name) and NEEDED.match(name) and name in read(tmp_path, dpkg(package(name))).packages
    assert not META.fullmatch("linux-image-6.8.0-50-generic") and not re.match(DRIVER, name)
