"""The reader on folders that look like machines. The states and their files: measured on Debian 13 with 550.163.01."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.facts import NvidiaState, read_machine
from holdfast.components.nvidia.machine import Machine, parse, version_key

OLD, NEW = "6.12.107+deb13-amd64", "6.12.117+deb13-amd64"
V, N = "550.163.01", "580.178.04"
GPUS = {"left": "0000:01:00.0", "right": "0000:02:00.0"}

Files = dict[str, str | bytes]


def card(address: str, kind: str = "0x030000") -> Files:
    at = f"sys/bus/pci/devices/{address}"
    return {f"{at}/vendor": "0x10de\n", f"{at}/class": f"{kind}\n", f"{at}/device": "0x2204\n"}


CARDS = {**card("0000:01:00.0"), **card("0000:02:00.0")}
AUDIO = card("0000:01:00.1", "0x040300")


def boot(*kernels: str) -> Files:
    return {f"boot/{kind}-{k}": "x" for k in kernels for kind in ("vmlinuz", "initrd.img")}


def library(version: str, folder: str = "nvidia/current/") -> Files:
    return {f"usr/lib/x86_64-linux-gnu/{folder}libcuda.so.{version}": "x"}


def loaded(version: str, kind: str = "x86_64 Kernel Module ") -> Files:
    words = f"NVRM version: NVIDIA UNIX {kind} {version}  Tue Apr  8\n"
    return {"sys/module/nvidia/version": f"{version}\n", "proc/driver/nvidia/version": words}


def machine(root: Path, files: Files, kernel: str = OLD, drivers: dict[str, str] | None = None) -> Machine:
    for name, content in {"proc/sys/kernel/osrelease": kernel, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for address, driver in (drivers or {}).items():
        os.symlink(f"../../../../bus/pci/drivers/{driver}", root / f"sys/bus/pci/devices/{address}/driver")
    return parse(read_machine(str(root)))


@pytest.mark.parametrize(
    ("files", "state", "problems"),
    [
        ({**AUDIO, **boot(OLD)}, "no_gpu", ["no NVIDIA GPU at 0000:01:00.0 (gpus.left)", "0000:02:00.0"]),
        ({**CARDS, **AUDIO, **boot(OLD)}, "present", ["no libcuda", "not loaded"]),
        ({**CARDS, "sys/module/nouveau/x": ""}, "present", ["no libcuda", "nouveau holds the cards"]),
        ({**CARDS, **library("535.261.03"), **loaded("535.261.03")}, "present", ["535.261.03 is older than 550"]),
        ({**CARDS, **library(V), "sys/module/nouveau/x": ""}, "present", ["nouveau holds the cards"]),
        ({**CARDS, **library(V)}, "present", ["not loaded"]),
        (
            {**CARDS, **library(V), "sys/module/module/parameters/sig_enforce": "Y\n"},
            "present",
            ["signed modules only"],
        ),
        (
            {**CARDS, **library(V), "sys/kernel/security/lockdown": "none [integrity] x"},
            "present",
            ["signed modules only"],
        ),
        ({**CARDS, **library(N, ""), **loaded(V)}, "present", [f"loaded module is {V}, the libraries are {N}"]),
        (
            {**CARDS, **library(N, ""), **library(V), **loaded(N)},
            "present",
            [f"several drivers are installed: {V}, {N}"],
        ),
        (
            {**card("0000:01:00.0"), **library(V), **loaded(V)},
            "present",
            ["no NVIDIA GPU at 0000:02:00.0 (gpus.right)"],
        ),
        (
            {
                **CARDS,
                **library(V),
                **loaded(V),
                "var/lib/dpkg/status": "Package: a\nStatus: install ok half-configured\n\n",
            },
            "present",
            ["half-installed packages: a"],
        ),
        ({**CARDS, **library(V), **loaded(V)}, "present", []),
        ({**CARDS, **library(N, ""), **loaded(N, "Open Kernel Module for x86_64 ")}, "present", []),
        (
            {**CARDS, **library(V), **loaded(V), "var/lib/dpkg/status": "Package: a\nStatus: hold ok installed\n\n"},
            "present",
            [],
        ),
    ],
)
def test_states(tmp_path: Path, files: Files, state: str, problems: list[str]) -> None:
    finding = classify(machine(tmp_path, files), GPUS, 550)
    assert finding.state == state and finding.words
    assert len(finding.problems) == len(problems), finding.problems
    for part, problem in zip(problems, finding.problems, strict=True):
        assert part in problem
    assert finding.usable == (not problems) and bool(finding.fix) == bool(problems)


def test_a_container_has_the_cards_that_it_was_given_and_not_its_hosts(tmp_path: Path) -> None:
    host = {**CARDS, **library(V), **loaded(V)}
    inside: Files = {"run/systemd/container": "systemd-nspawn"}
    assert len(machine(tmp_path / "host", host).gpus) == 2
    finding = classify(machine(tmp_path / "inside", {**host, **inside}), {}, 550)
    assert (finding.state, finding.words) == ("no_gpu", "no NVIDIA GPU")
    assert len(machine(tmp_path / "given", {**host, **inside, "dev/nvidiactl": ""}).gpus) == 2


def test_everything_that_is_read(tmp_path: Path) -> None:
    efi = {
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\x06\0\0\0\x01",
    }
    found = machine(
        tmp_path,
        {**CARDS, **boot("6.12.9-amd64", OLD), f"boot/vmlinuz-{NEW}": "x", **library(V), **loaded(V), **efi},
        drivers={"0000:01:00.0": "nvidia", "0000:02:00.0": "vfio-pci"},
    )  # fmt: skip
    assert [(g.address, g.device, g.driver) for g in found.gpus] == [
        ("0000:01:00.0", "0x2204", "nvidia"),
        ("0000:02:00.0", "0x2204", "vfio-pci"),
    ]
    assert (found.module, found.libraries, found.open_module) == (V, (V,), False)
    # The newest kernel by version, not by spelling; and a failed DKMS build leaves one without an initrd.
    assert (found.kernel, found.next_kernel, found.next_initrd) == (OLD, NEW, False)
    assert found.secure_boot and not found.signatures_enforced and not found.broken_packages
    assert "vfio-pci" in classify(found, GPUS, 550).problems[0]
    assert "GeForce RTX 3090 at 0000:01:00.0" in classify(found, GPUS, 550).words


def test_secure_boot_that_shim_ignores(tmp_path: Path) -> None:
    vars_ = "sys/firmware/efi/efivars"
    files: Files = {
        f"{vars_}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\x06\0\0\0\x01",
        f"{vars_}/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23": b"\x06\0\0\0\x01",
    }
    assert not machine(tmp_path, files).secure_boot


def test_an_empty_machine(tmp_path: Path) -> None:
    found = machine(tmp_path, {})
    assert found == Machine(kernel=OLD) and classify(found, {}, 550).state == "no_gpu"


def test_it_runs_as_it_runs_on_a_host(tmp_path: Path) -> None:
    machine(tmp_path, {**CARDS, **loaded(V)})
    source = NvidiaState.source(root=str(tmp_path))
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, capture_output=True, text=True)
    assert not done.stderr
    found: Any = parse(NvidiaState().process(done.stdout.splitlines()))
    assert len(found.gpus) == 2 and found.module == V


def test_versions_sort_by_number() -> None:
    assert sorted(["6.12.107", "6.12.9", "6.2.1"], key=version_key) == ["6.2.1", "6.12.9", "6.12.107"]
