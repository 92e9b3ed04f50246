"""In what order `up --vm` boots and applies."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.apply.result import Result
from holdfast.cli import up, virtual
from holdfast.errors import HoldfastError
from holdfast.lab import processes, state
from holdfast.lab.layout import Layout
from holdfast.lab.state import LabState
from holdfast.lab.vm import lab as vm_lab
from holdfast.lab.vm import layout as vm


class Story:
    """A VmLab that only tells what is asked of it."""

    told: list[str]
    kind: str

    def __init__(self, name: str, release: str) -> None:
        self.told.append(f"{name} {release}")

    def up(self, progress: Any, models: Any) -> Any:
        return SimpleNamespace(vm="", name="lab", release="bookworm")

    def accelerator(self, progress: Any) -> str:
        return self.kind

    def into_vm(self, accelerator: str, progress: Any) -> Any:
        self.told.append(f"boot with {accelerator}")
        return SimpleNamespace(vm=accelerator, name="lab", release="bookworm")


class Said:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture(params=["kvm", "tcg"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setattr(Story, "told", [], raising=False)
    monkeypatch.setattr(Story, "kind", request.param, raising=False)
    monkeypatch.setattr(vm_lab, "VmLab", Story)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return str(request.param)


def test_with_kvm_all_of_the_apply_meets_the_kernel_and_in_software_the_last_one(kind: str) -> None:
    progress: Any = Said()
    found, accelerator = virtual.lab_up(None, progress, None)
    Story.told.append("apply")

    def again() -> Result:
        Story.told.append("apply again")
        return Result(changed=["a unit"], operations=40, seconds={"base": 2.0, "ollama": 1.0})

    first = Result(changed=["a package", "a user"], operations=40, seconds={"base": 60.0})
    found, result = virtual.moved(found, accelerator, first, progress, again)
    assert found.vm == accelerator == kind
    if kind == "tcg":
        assert result.changed == ["a package", "a user", "a unit"] and result.operations == 80, "what `--json` calls changes"
        assert result.seconds == {"base": 62.0, "ollama": 1.0}
    else:
        assert result is first
    told = {
        "kvm": ["lab bookworm", "boot with kvm", "apply"],
        "tcg": ["lab bookworm", "apply", "lab bookworm", "boot with tcg", "apply again"],
    }
    assert Story.told == told[kind]
    assert bool(progress.notes) == (kind == "tcg")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes down a throw-away machine: of which release, alive or not, with a virtual machine's disk or without."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def write(release: str, alive: bool = False, disk: bool = False) -> None:
        layout = Layout(up.hosts.LAB)
        vm.folder(layout).mkdir(parents=True)
        found = processes._stat(os.getpid())
        process = processes.Process("machine", os.getpid(), found[1] if found and alive else 0)
        kind = "tcg" if disk else ""
        state.save(LabState(layout.name, "n", release, "c", {}, {}, {}, {}, processes=[process], vm=kind))
        if disk:
            vm.disk(layout).touch()

    return write


def test_the_release_of_a_virtual_machine(lab: Callable[..., None]) -> None:
    progress: Any = Said()
    assert virtual.release_of(None, progress) == "bookworm" and virtual.release_of("trixie", progress) == "trixie"
    lab("trixie")
    assert virtual.release_of("trixie", progress) == "trixie" and not progress.notes
    assert virtual.release_of(None, progress) == "bookworm", "what is dead does not choose for the next one"
    assert "trixie is removed; the new one has bookworm" in progress.notes[0]


@pytest.mark.parametrize("how", ["alive", "disk"])
def test_the_release_of_one_that_lives_or_is_a_disk_stays(lab: Callable[..., None], how: str) -> None:
    progress: Any = Said()
    lab("bookworm", **{how: True})
    assert virtual.release_of(None, progress) == virtual.release_of("bookworm", progress) == "bookworm"
    with pytest.raises(HoldfastError, match="is Debian bookworm, not trixie") as told:
        virtual.release_of("trixie", progress)
    assert "./holdfast down" in told.value.fix and not progress.notes


@pytest.mark.parametrize("disk", [True, False])
def test_up_without_vm_goes_on_with_a_virtual_machine(
    lab: Callable[..., None], disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab("bookworm", disk=disk)
    monkeypatch.setattr(up, "groups", lambda: None)
    monkeypatch.setattr(up.hosts, "set_for", lambda name, values: None)
    monkeypatch.setattr(up.hosts, "tried", lambda name, values: None)
    monkeypatch.setattr(up, "has_nvidia", lambda: False)

    def goes(way: str) -> Callable[..., None]:
        def stop(*words: Any) -> None:
            raise LookupError(way)

        return stop

    monkeypatch.setattr(virtual, "lab_up", goes("virtual"))
    monkeypatch.setattr(up, "lab_up", goes("nspawn"))
    progress: Any = Said()
    args: Any = SimpleNamespace(values=[], reboot=None, host=None, vm=False, release=None, models=[])
    with pytest.raises(LookupError, match="virtual" if disk else "nspawn"):
        up.run(args, progress)
    assert any("stays one" in note for note in progress.notes) == disk


@pytest.mark.parametrize("host", ["gpu-box", up.hosts.LAB])
@pytest.mark.parametrize("option", ["--vm", "--release", "--model"])
def test_a_named_host_is_not_made_anew(host: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the throw-away machine by its name, either: it lives already, and the option would do nothing."""
    monkeypatch.setattr(up.hosts, "chosen", lambda name: name)
    none = {"host": host, "models": [], "release": None, "vm": False}
    given = {"--vm": {"vm": True}, "--release": {"release": "trixie"}, "--model": {"models": ["coder=my.gguf"]}}[option]
    with pytest.raises(HoldfastError, match=f"{option} is for the throw-away machine only") as told:
        up.host_of(SimpleNamespace(**none | given))  # type: ignore[arg-type]
    assert told.value.code == 2
    assert up.host_of(SimpleNamespace(**none)) == host  # type: ignore[arg-type]
