"""PCI addresses to UUIDs, from trees that look like /sys, /proc and /dev."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.paths import ROOT
from holdfast_onhost import devices
from holdfast_onhost.devices import Found, Gpu, decide, declared, gpu_is_required, look, normal, resolve, uuids
from holdfast_onhost.lease.settings import Settings

PROGRAM = ROOT / "src" / "holdfast_onhost" / "devices.py"
LEFT, RIGHT = Gpu("left", "0000:01:00.0"), Gpu("right", "0000:21:00.0")
UUID = {
    LEFT.address: "GPU-0c8f6a2e-1111-2222-3333-444455556666",
    RIGHT.address: "GPU-9d1b7f3c-aaaa-bbbb-cccc-ddddeeeeffff",
}


def machine(root: Path, *, cards: tuple[Gpu, ...] = (LEFT, RIGHT), driver: bool = True, asleep: tuple[Gpu, ...] = (),
            nodes: tuple[str, ...] = ("nvidiactl", "nvidia-uvm"), vendor: str = "0x10de") -> Path:  # fmt: skip
    """A root folder with these cards; `asleep` are those whose UUID the driver does not know yet."""
    for gpu in cards:
        device = root / "sys/bus/pci/devices" / gpu.address
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        if driver:
            information = root / "proc/driver/nvidia/gpus" / gpu.address / "information"
            information.parent.mkdir(parents=True)
            uuid = "GPU-????????-????-????-????-????????????" if gpu in asleep else UUID[gpu.address]
            information.write_text(f"Model: \t\t NVIDIA GeForce RTX 3090\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n")
    (root / "dev").mkdir()
    for node in nodes:
        (root / "dev" / node).touch()
    return root


def silent() -> str:
    return ""


def test_addresses_as_lspci_sysfs_and_nvidia_smi_write_them() -> None:
    assert {normal(text) for text in ("01:00.0", "0000:01:00.0", "00000000:01:00.0")} == {"0000:01:00.0"}
    assert normal("00000001:C1:00.0") == "0001:c1:00.0"


def test_two_cards_in_the_declared_order(tmp_path: Path) -> None:
    found = resolve([RIGHT, LEFT], str(machine(tmp_path)), 0, silent)
    value, _ = decide(found, required=True)
    assert value == f"{UUID[RIGHT.address]},{UUID[LEFT.address]}"


def test_card_that_nobody_opened_is_asked_for_by_nvidia_smi(tmp_path: Path) -> None:
    root = str(machine(tmp_path, asleep=(RIGHT,)))
    assert uuids(root, silent) == {LEFT.address: UUID[LEFT.address]}
    assert uuids(root, lambda: f"00000000:21:00.0, {UUID[RIGHT.address]}\n") == UUID


@pytest.mark.parametrize("answer", ["", "NVIDIA-SMI has failed because it couldn't communicate\n", "x, y\n", ",\n"])
def test_nvidia_smi_without_an_answer_is_no_card(tmp_path: Path, answer: str) -> None:
    assert uuids(str(machine(tmp_path, driver=False)), lambda: answer) == {}


@pytest.mark.parametrize(
    ("change", "told", "may_come"),
    [
        ({"cards": (LEFT,)}, "no device at that address", False),
        ({"vendor": "0x8086"}, "vendor 0x8086", False),
        ({"driver": False}, "no NVIDIA driver has it", True),
        ({"nodes": ("nvidiactl",)}, "/dev/nvidia-uvm is missing", True),
        ({"nodes": ()}, "/dev/nvidiactl is missing", True),
    ],
)
def test_each_reason_not_to_use_a_card(tmp_path: Path, change: dict[str, object], told: str, may_come: bool) -> None:
    root = str(machine(tmp_path, **change))  # type: ignore[arg-type]
    found = look(RIGHT, root, uuids(root, silent))
    assert told in found.problem.replace("there is ", "")
    assert found.may_come is may_come
    assert found.fix
    value, lines = decide({RIGHT: found}, required=True)
    assert value is None
    assert lines[0].startswith("error: GPU right (0000:21:00.0): ")
    assert lines[-1].startswith("Fix: ")


def test_every_missing_card_is_named() -> None:
    gone = Found(problem="gone", fix="look")
    value, lines = decide({LEFT: gone, RIGHT: gone}, required=True)
    assert value is None
    assert [line for line in lines if "left (0000:01:00.0)" in line]
    assert [line for line in lines if "right (0000:21:00.0)" in line]


def test_cpu_only_where_it_is_allowed() -> None:
    half = {LEFT: Found(uuid=UUID[LEFT.address]), RIGHT: Found(problem="gone")}
    assert decide(half, required=False)[0] == "-1"
    assert decide({}, required=False)[0] == "-1"
    assert decide({}, required=True)[0] is None
    assert decide({LEFT: half[LEFT]}, required=False)[0] == UUID[LEFT.address]


def test_the_cards_own_device_file_must_be_there(tmp_path: Path) -> None:
    root = machine(tmp_path)
    for number, gpu in enumerate((LEFT, RIGHT)):
        about = root / "proc/driver/nvidia/gpus" / gpu.address / "information"
        about.write_text(about.read_text() + f"Device Minor: \t {number}\n")
    (root / "dev/nvidia0").touch()
    found = resolve([LEFT, RIGHT], str(root), 0, silent)
    assert found[LEFT].uuid == UUID[LEFT.address]
    assert "/dev/nvidia1 is missing" in found[RIGHT].problem and found[RIGHT].may_come
    assert found[RIGHT].fix.endswith("-c 1")
    (root / "dev/nvidia1").touch()
    assert resolve([LEFT, RIGHT], str(root), 0, silent)[RIGHT].uuid


def test_driver_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    root = machine(tmp_path, driver=False)
    asked: list[int] = []

    def later() -> str:
        asked.append(1)
        if len(asked) < 2:
            return ""
        return f"00000000:01:00.0, {UUID[LEFT.address]}\n"

    assert not resolve([LEFT], str(root), 0, later)[LEFT].uuid
    assert resolve([LEFT], str(root), 5, later)[LEFT].uuid == UUID[LEFT.address]


@pytest.mark.parametrize("second", [True, False], ids=["with the second try", "never"])
def test_module_is_loaded_and_device_files_are_made_again_and_again(
    second: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race at boot (ggml-org/llama.cpp#27923); in the end all is well, or it is refused.  On "/", as a unit starts it."""
    root = machine(tmp_path / "root", nodes=("nvidiactl",))
    programs, told = tmp_path / "bin", tmp_path / "told"
    programs.mkdir()
    node = f'[ ! -e "{told}.again" ] || : >"{root}/dev/nvidia-uvm"; : >"{told}.again"' if second else ":"
    for name, does in (("modprobe", "exit 1"), ("nvidia-modprobe", node)):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{told}"\n{does}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(devices, "_POLL_S", 0.01)
    # All of them look below the tree that stands for "/".
    monkeypatch.setattr(devices, "uuids", lambda _, ask: uuids(str(root), ask))
    monkeypatch.setattr(devices, "look", lambda gpu, _, known: look(gpu, str(root), known))
    monkeypatch.setattr(devices, "_prepare", lambda gpus, _, make=devices._prepare: make(gpus, str(root)))
    found = resolve([LEFT], "/", 30 if second else 0.1, silent)
    assert [bool(state.uuid) for state in found.values()] == [second]
    assert decide(found, required=True)[0] == (UUID[LEFT.address] if second else None)
    if second:
        assert told.read_text().splitlines() == ["modprobe nvidia-uvm", "nvidia-modprobe -u -c 0"] * 2


@pytest.mark.parametrize("text", ["left", "=01:00.0", "left=", "left=01:00", "left=0000:01:00.0;rm"])
def test_nonsense_in_the_environment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOLDFAST_CARDS"):
        declared(text)


def program(root: Path, output: Path, gpus: str, require: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(PROGRAM), "--root", str(root), "--output", str(output), "--wait", "0"]
    environment = {"HOLDFAST_CARDS": gpus, "HOLDFAST_REQUIRE_GPU": require, "PATH": os.defpath}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_program_writes_the_units_file_or_leaves_none(tmp_path: Path) -> None:
    root, output = machine(tmp_path / "root"), tmp_path / "run" / "coder.devices"
    both = f"left={LEFT.address} right={RIGHT.address}"
    assert program(root, output, both, "yes").returncode == 0
    uuids = f"{UUID[LEFT.address]},{UUID[RIGHT.address]}"
    assert output.read_text() == f"CUDA_VISIBLE_DEVICES={uuids}\nHOLDFAST_GPUS={uuids}\n"
    refused = program(root, output, f"{both} third=0000:41:00.0", "yes")
    assert refused.returncode == 1
    assert "third (0000:41:00.0)" in refused.stderr
    assert "Fix: " in refused.stderr
    assert not output.exists()
    assert program(root, output, f"{both} third=0000:41:00.0", "no").returncode == 0
    assert output.read_text() == "CUDA_VISIBLE_DEVICES=-1\nHOLDFAST_GPUS=-1\n"


@pytest.mark.parametrize(
    ("said", "required"),
    [(None, True), ("yes", True), ("", True), ("1", True), ("no", False), ("No", False), ("0", False), ("false", False)],
)
def test_both_programs_read_whether_a_gpu_is_required_alike(said: str | None, required: bool) -> None:
    environment = {} if said is None else {"HOLDFAST_REQUIRE_GPU": said}
    unit = {"HOLDFAST_LLAMA_SERVER": "/x", "HOLDFAST_INSTANCE": "coder", "HOME": "/h", **environment}
    assert gpu_is_required(environment) is Settings.read(unit).require_gpu is required
