"""What machines are seen in that nobody planned: state, reason and way out as `status --facts` tells them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import ODD, SECOND, TAKEN, WORKS
from tests.unit.nvidia.trees import CARDS, OLD, Files, N, V, boot, library, read, tree, ubuntu

from holdfast.cli import status
from holdfast.components.nvidia.classify import classify, findings
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.outlook import outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Load, Reboot, Reload, to_use


@pytest.mark.parametrize(("files", "links", "state", "words", "fix"), ODD.values(), ids=ODD)
def test_odd_states(tmp_path: Path, files: Files, links: dict[str, str], state: str, words: str, fix: str) -> None:
    recorded = read_machine(str(tree(tmp_path / "root", files, links=links)))
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(recorded))
    told = status.replayed(file)
    nvidia = told.data["nvidia"]
    assert nvidia["state"] == state, nvidia
    assert told.code == (1 if words else 0), nvidia["findings"]
    found = nvidia["findings"]
    if words:
        assert any(words in one["message"] and fix in one["fix"] for one in found), found


def test_the_containers_own_words(tmp_path: Path) -> None:
    found = read_machine(str(tree(tmp_path, {**WORKS, "run/systemd/container": "lxc"})))
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(found))
    assert (
        "was given none of its host's cards (0000:01:00.0, 0000:02:00.0)"
        in status.replayed(file).data["nvidia"]["reason"]
    )


def test_windows_own_kernel_takes_no_driver(tmp_path: Path) -> None:
    """WSL2: a card is a device of Windows' kind (vendor 1414), and its libcuda lies in a folder of its own."""
    at = "sys/bus/pci/devices/1234:00:00.0"
    device: Files = {f"{at}/vendor": "0x1414\n", f"{at}/class": "0x030200\n", "usr/lib/wsl/lib/libcuda.so.1": "x", **ubuntu()}
    found = read(tmp_path / "wsl", device, "5.15.167.4-microsoft-standard-WSL2")
    finding = classify(found, {"left": "0000:01:00.0"}, 550)
    assert (finding.state, finding.usable, len(finding.missing)) == ("no_gpu", False, 1)
    assert "no NVIDIA modules, the driver belongs to Windows" in finding.reason and "PCI address" in finding.reason
    assert "none in here" in finding.fix and "require_gpu: false" in finding.fix and "seated" not in finding.fix
    # The control: the same without Windows' kernel.
    assert "is the card seated" in classify(read(tmp_path / "bare", device), {}, 550).fix
    # Clouds name kernels of their own so; there a card is a real one.
    real = read(tmp_path / "cloud", {**CARDS, **boot(OLD), **ubuntu()}, "6.6.57.1-microsoft-standard")
    assert not real.wsl and classify(real, {}, 550).state == "absent"
    recorded = {**read_machine(str(tmp_path / "cloud")), "wsl": True}  # as it was recorded once
    assert classify(from_json(recorded), {}, 550).state == "absent"
    missing = findings(found, {"left": "0000:01:00.0"}, 550)
    assert missing[0][1] == finding.fix


def test_who_asks_for_a_reboot_and_a_boot_that_gets_full_are_told(tmp_path: Path) -> None:
    more = {"run/reboot-required": "", "run/reboot-required.pkgs": "libc6\nlinux-image-amd64\n", "boot.free_mib": "40"}
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(read_machine(str(tree(tmp_path / "root", {**WORKS, **more})))))
    told = status.replayed(file)
    assert told.code == 0
    notes = "\n".join(told.data["nvidia"]["notes"])
    assert "a reboot is asked for by libc6, linux-image-amd64" in notes and "/boot has 40 MiB left" in notes


def test_a_card_that_no_instance_uses_is_only_a_note(tmp_path: Path) -> None:
    found = read(tmp_path, WORKS, links=TAKEN)
    finding = classify(found, {"left": "0000:01:00.0"}, 550)
    assert finding.usable and SECOND in finding.notes[0]
    assert not classify(found, {"right": SECOND}, 550).usable


def test_the_steps_from_there(tmp_path: Path) -> None:
    def first(name: str, **want: str) -> object:
        files, links, *_ = ODD[name]
        return to_use(read(tmp_path / name, files, links=links), Want(**want), ())  # type: ignore[arg-type]

    assert isinstance(first("a .run file's driver, not loaded"), Load)
    # Nobody is asked for a reboot, which would be asked for again after it.
    assert isinstance(first("nouveau is loaded and holds no card"), Load)
    assert isinstance(first("nouveau is loaded and holds one"), Reboot)
    assert isinstance(first("the right modules for Pascal, the open ones still loaded"), Reload)
    assert isinstance(first("the running kernel was removed, nothing loaded"), Reboot)
    lost = read(tmp_path / "lost", ODD["no /boot, and nouveau"][0])
    assert outlook(lost, Want()).startswith("reboot: needed and not done (no kernel is in /boot)")


def test_two_builds_of_dkms_for_one_kernel_are_told_apart(tmp_path: Path) -> None:
    """The version comes from the DKMS that built the file which is loaded: by its name, not by who comes first."""
    at = f"lib/modules/{OLD}/updates/dkms"
    files: Files = {
        **CARDS,
        **boot(OLD),
        **library(N, ""),
        f"{at}/nvidia.ko.xz": "x",
        f"{at}/nvidia-current.ko.xz": "x",
    }
    found = tree(tmp_path, files)
    for name, version in (("nvidia-current", V), ("nvidia", N)):
        os.makedirs(found / f"var/lib/dkms/{name}")
        os.symlink(f"{version}/{OLD}/x86_64", found / f"var/lib/dkms/{name}/kernel-{OLD}-x86_64")
    assert read_machine(str(found))["kernels"][OLD]["module"] == N
