"""The operation says what is there, changes nothing, and refuses where required cards cannot be used."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand
from tests.unit.nvidia.trees import card, tree

from holdfast.components.nvidia import devices, verdict
from holdfast.components.nvidia.facts import Cards, NvidiaCards
from holdfast.components.nvidia.machine import Gpu, Machine
from holdfast.components.nvidia.packages import Want

GPUS = {"left": "0000:01:00.0"}
CARD = (Gpu("0000:01:00.0", "0x2204", "nvidia"),)
READY = Machine(gpus=CARD, module="580.178.04", libraries=("580.178.04",), uvm=True)


class Host:
    name = "ws"
    state = SimpleNamespace(is_executing=True)

    def __init__(self) -> None:
        self.said: list[str] = []
        self.connector_data: dict[str, Any] = {}

    def noop(self, words: str) -> None:
        self.said.append(words)


def run(monkeypatch: pytest.MonkeyPatch, machine: Machine | None, required: bool) -> tuple[list[Any], list[str]]:
    """(what the operation yields, what it says when it has nothing to do)"""
    host = Host()
    monkeypatch.setattr(verdict, "host", host)
    monkeypatch.setattr(verdict.NvidiaState, "machine", classmethod(lambda cls, host: machine))
    return list(verdict.usable._inner(want=Want(gpus=GPUS, required=required))), host.said


@pytest.mark.parametrize(
    ("machine", "required", "words"),
    [
        (Machine(), False, "no NVIDIA GPU"),
        (READY, True, "GeForce RTX 3090 at 0000:01:00.0; driver 580.178.04 (proprietary) is loaded"),
        (
            Machine(gpus=CARD),
            False,
            "GeForce RTX 3090 at 0000:01:00.0; no NVIDIA driver is loaded; the driver is not",
        ),
    ],
)
def test_it_reports(monkeypatch: pytest.MonkeyPatch, machine: Machine, required: bool, words: str) -> None:
    commands, said = run(monkeypatch, machine, required)
    assert not commands and len(said) == 1 and said[0].startswith(words)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(), "no NVIDIA GPU at 0000:01:00.0 (gpus.left)"),
        (Machine(gpus=CARD), "the driver is not installed"),
        (
            Machine(gpus=(Gpu("0000:09:00.0", "0x2204"),), module="580.1", libraries=("580.1",), uvm=True),
            "no NVIDIA GPU at 0000:01:00.0",
        ),
    ],
)
def test_it_refuses(monkeypatch: pytest.MonkeyPatch, machine: Machine, words: str) -> None:
    [command], said = run(monkeypatch, machine, True)
    assert isinstance(command, FunctionCommand) and not said
    error = command.args[0]
    assert words in error.message and "require_gpu" in error.message and error.fix


def test_a_machine_without_python_fails_an_apply_and_not_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    commands, said = run(monkeypatch, None, False)
    assert len(commands) == 1 and not said
    monkeypatch.setattr(Host, "state", SimpleNamespace(is_executing=False))
    commands, said = run(monkeypatch, None, False)
    assert not commands and "base" in said[0]


def cards(*lines: str) -> Cards:
    return NvidiaCards().process([*lines, "end"])


BOTH = {**GPUS, "right": "0000:21:00.0"}
LEFT, RIGHT = "card 0000:01:00.0 0x030000", "card 0000:21:00.0 0x030200"


def test_cards_of_the_machine_and_not_its_hosts() -> None:
    assert cards(RIGHT, LEFT, "card 0000:01:00.1 0x040300").addresses == ("0000:01:00.0", "0000:21:00.0")
    assert cards(LEFT, "container").addresses == ()
    assert cards(LEFT, "container", "control").addresses == ("0000:01:00.0",)
    assert cards().addresses == ()


def test_missing_cards_stop_the_apply_by_name() -> None:
    assert devices.obstacle(cards(LEFT, RIGHT), BOTH) is None
    problem = devices.obstacle(cards(LEFT), BOTH)
    assert problem
    assert "right (0000:21:00.0)" in problem.render()
    assert "left" not in problem.message
    assert "require_gpu: false" in problem.fix
    windows = devices.obstacle(cards("wsl"), BOTH)
    assert windows and "this is WSL" in windows.message and "the driver belongs to Windows" in windows.message
    assert "require_gpu: false" in windows.fix and "lspci" not in windows.fix
    # A cloud's kernel of that name, with real cards.
    assert devices.obstacle(cards("wsl", LEFT, RIGHT), BOTH) is None
    both = devices.obstacle(cards(), BOTH)
    assert both
    assert "left (0000:01:00.0), right (0000:21:00.0)" in both.message
    assert "plugged in and powered" in both.fix
    assert devices.obstacle(cards(LEFT), {})


def test_a_card_that_a_virtual_machine_has_stops_the_apply_with_the_way_to_get_it_back() -> None:
    found = cards(f"{LEFT} nvidia", f"{RIGHT} vfio-pci")
    assert (found.addresses, found.handed) == (("0000:01:00.0",), ("0000:21:00.0",))
    problem = devices.obstacle(found, BOTH)
    assert problem and problem.message == "right (0000:21:00.0) is handed to a virtual machine (vfio-pci)"
    assert "take it back" in problem.fix and "lspci" not in problem.fix
    assert devices.obstacle(found, GPUS) is None
    assert cards(f"{RIGHT} vfio-pci", "container").handed == ()


def test_the_first_look_reads_who_holds_a_card(tmp_path: Path) -> None:
    """The same shell text, on a folder that looks like a machine."""
    files = {**card("0000:01:00.0"), **card("0000:21:00.0"), **card("0000:21:00.1", "0x040300"), ".dockerenv": ""}
    tree(tmp_path, files, links={"sys/bus/pci/devices/0000:21:00.0/driver": "../../../../bus/pci/drivers/vfio-pci"})

    def look() -> Cards:
        script = re.sub(r"(?<=[ (])/(?=sys|run|dev|proc|\.)", f"{tmp_path}/", NvidiaCards().command())
        said = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
        assert not said.stderr
        return NvidiaCards().process(said.stdout.splitlines())

    assert look() == Cards(()), "a container that was given none"
    put = tmp_path / "dev/nvidiactl"
    put.parent.mkdir()
    put.touch()
    assert look() == Cards(("0000:01:00.0",), handed=("0000:21:00.0",))
