"""Planned GPUs before a load.  `llama-server --list-devices` and nvidia-smi are fakes here: programs that print a file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast_onhost.lease import listing
from holdfast_onhost.lease.proof import prove
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.settings import Settings

LEFT, RIGHT = "0000:01:00.0", "0000:21:00.0"
UUID = {LEFT: "GPU-0c8f6a2e-1111-2222-3333-444455556666", RIGHT: "GPU-9d1b7f3c-aaaa-bbbb-cccc-ddddeeeeffff"}
ENVIRONMENT = {
    "HOLDFAST_LEASE_DIR": "/run/holdfast/lease", "HOLDFAST_LEASE": "left right", "HOLDFAST_INSTANCE": "reasoner",
    "HOLDFAST_CARDS": f"left={LEFT} right={RIGHT}", "HOLDFAST_LEASE_VRAM": "22000 21000", "HOME": "/h",
    "HOLDFAST_LEASE_VRAM_WAIT_S": "0.3", "HOLDFAST_GPUS": f"{UUID[LEFT]},{UUID[RIGHT]}",
}  # fmt: skip


class Machine:
    """Two cards as sysfs, the driver, CUDA and nvidia-smi show them; every part can be changed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.listed = folder / "root", folder / "listed"
        for address, uuid in UUID.items():
            device = self.root / "sys/bus/pci/devices" / address
            device.mkdir(parents=True)
            (device / "vendor").write_text("0x10de\n")
            self.information(address).parent.mkdir(parents=True)
            self.information(address).write_text(f"GPU UUID: \t {uuid}\n")
        (self.root / "dev").mkdir()
        for node in ("nvidiactl", "nvidia-uvm"):
            (self.root / "dev" / node).touch()
        self.program("llama-server", f'cat "{self.listed}"')
        self.smi("GPU 0: NVIDIA GeForce RTX 3090")
        self.devices("CUDA0 23982", "CUDA1 23000")
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("GGML_BACKEND_PATH", "/x/libggml-cuda.so")
        self.folder = folder
        real = {"HOLDFAST_LLAMA_SERVER": str(folder / "llama-server"), "HOLDFAST_ROOT": str(self.root)}
        self.settings = Settings.read(ENVIRONMENT | real)

    def information(self, address: str) -> Path:
        return self.root / "proc/driver/nvidia/gpus" / address / "information"

    def program(self, name: str, script: str) -> None:
        path = self.listed.parent / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def smi(self, text: str, users: str = "1234, /usr/bin/blender, 9000 MiB") -> None:
        self.program("nvidia-smi", f'case "$*" in -L) echo "{text}";; *) echo "{users}";; esac')

    def devices(self, *cards: str) -> None:
        rows = [
            f"  {card.split()[0]}: NVIDIA GeForce RTX 3090 (24135 MiB, {card.split()[1]} MiB free)" for card in cards
        ]
        self.listed.write_text("\n".join(["Available devices:", *rows, ""]))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def refused(settings: Settings) -> str:
    with pytest.raises(Refused) as told:
        prove(settings)
    text = str(told.value)
    assert ". Fix: " in text and "\n" not in text
    # Words that make Ollama evict models and try again (ollama llm/status.go).
    assert not any(word in text.lower() for word in ("out of memory", "failed to allocate", "not enough memory"))
    return text


def test_listing_as_llama_server_prints_it() -> None:
    text = (
        "ggml_cuda_init: found 1\nAvailable devices:\n  CUDA0: NVIDIA GeForce RTX 4060 Ti (16379 MiB, 14900 MiB free)\n"
    )
    assert listing.parse(text) == [listing.Device("CUDA0", "NVIDIA GeForce RTX 4060 Ti", 16379, 14900)]
    assert listing.parse("Available devices:\n  (none)\n") == []
    assert listing.devices("/nowhere/llama-server") == []


def test_what_is_planned_is_there(machine: Machine) -> None:
    prove(machine.settings)


def test_lost_card(machine: Machine) -> None:
    shutil.rmtree(machine.root / "sys/bus/pci/devices" / RIGHT)
    machine.smi("Unable to determine the device handle for GPU0000:21:00.0: GPU is lost")
    text = refused(machine.settings)
    assert "GPU right (0000:21:00.0): there is no device at that address" in text and "GPU is lost" in text
    assert "systemctl restart ollama@reasoner" in text


def test_driver_that_was_replaced(machine: Machine) -> None:
    machine.devices()
    machine.smi("Failed to initialize NVML: Driver/library version mismatch")
    text = refused(machine.settings)
    assert "llama-server can use none; planned: left" in text and "version mismatch" in text and "reboot" in text


def test_one_card_less_and_one_more(machine: Machine) -> None:
    machine.devices("CUDA0 23982")
    assert "llama-server can use CUDA0 NVIDIA" in refused(machine.settings)
    machine.devices("CUDA0 23982", "CUDA1 23982", "CUDA2 23982")
    assert "CUDA2" in refused(machine.settings)
    machine.devices("CUDA0 23982", "Vulkan0 23982")
    assert "Vulkan0" in refused(machine.settings)


def test_plan_that_makes_no_sense(machine: Machine) -> None:
    assert "'left' is not NAME=PCI-ADDRESS" in refused(replace(machine.settings, gpus="left"))


def test_another_card_at_the_same_place(machine: Machine) -> None:
    machine.information(LEFT).write_text("GPU UUID: GPU-99999999-1111-2222-3333-444455556666\n")
    assert f"but this server was started with {UUID[LEFT]}" in refused(machine.settings)


@pytest.mark.parametrize("chosen", [UUID[LEFT], f"{UUID[RIGHT]},{UUID[LEFT]}", "-1"])
def test_what_ollama_chose_of_the_cards_is_no_part_of_the_plan(machine: Machine, chosen: str) -> None:
    """It gives llama-server one of two where it thinks that one would do, or a client says main_gpu."""
    read = Settings.read(ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": chosen, "HOLDFAST_LLAMA_SERVER": machine.settings.real,
                                        "HOLDFAST_ROOT": machine.settings.root})  # fmt: skip
    prove(read)
    assert read.environment["CUDA_VISIBLE_DEVICES"] == f"{UUID[LEFT]},{UUID[RIGHT]}"


def test_ollama_that_saw_no_gpu_when_it_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.devices()
    monkeypatch.delenv("GGML_BACKEND_PATH")
    assert "Ollama saw no GPU when it started" in refused(machine.settings)


def test_memory_that_somebody_else_has(machine: Machine) -> None:
    machine.devices("CUDA0 23982", "CUDA1 9000")
    text = refused(machine.settings)
    assert "21000 MiB on GPU right (0000:21:00.0), where 9000 of 24135 MiB are free" in text
    assert "left (" not in text and "1234, /usr/bin/blender, 9000 MiB" in text


def test_memory_that_comes_back(machine: Machine) -> None:
    """The second listing shows it free: the program changes what it prints when it is run."""
    machine.devices("CUDA0 23982", "CUDA1 9000")
    later = machine.listed.read_text().replace("9000", "22000")
    (machine.folder / "later").write_text(later)
    machine.program(
        "llama-server", f'cat "{machine.listed}"; mv "{machine.folder}/later" "{machine.listed}" 2>/dev/null; :'
    )
    prove(machine.settings)


def test_nothing_planned_and_the_cpu_by_decision_need_no_proof(machine: Machine) -> None:
    machine.devices()
    prove(replace(machine.settings, gpus=""))
    prove(replace(machine.settings, visible=("-1",)))


def test_without_require_gpu_it_is_said_and_goes_on(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.devices()
    prove(replace(machine.settings, require_gpu=False))
    told = capsys.readouterr().err
    assert "llama-server can use none" in told and "require_gpu is false" in told and not told.startswith("error:")
