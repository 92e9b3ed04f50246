"""In what order `up --vm` boots and applies."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.apply.result import Result
from holdfast.cli import up, virtual
from holdfast.errors import HoldfastError
from holdfast.lab import state
from holdfast.lab.vm import lab as vm_lab


class Story:
    """A VmLab that only tells what is asked of it."""

    told: list[str]
    kind: str

    def __init__(self, name: str, release: str) -> None:
        self.told.append(f"{name} {release}")

    def up(self, progress: Any, models: Any) -> Any:
        return SimpleNamespace(vm="", name="lab", release="trixie")

    def accelerator(self, progress: Any) -> str:
        return self.kind

    def into_vm(self, accelerator: str, progress: Any) -> Any:
        self.told.append(f"boot with {accelerator}")
        return SimpleNamespace(vm=accelerator, name="lab", release="trixie")


class Said:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture(params=["kvm", "tcg"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Story, "told", [], raising=False)
    monkeypatch.setattr(Story, "kind", request.param, raising=False)
    monkeypatch.setattr(vm_lab, "VmLab", Story)
    monkeypatch.setattr(state, "read", lambda name: None)
    return str(request.param)


def test_with_kvm_all_of_the_apply_meets_the_kernel_and_in_software_the_last_one(kind: str) -> None:
    progress: Any = Said()
    found, accelerator = virtual.lab_up(None, progress, None)
    Story.told.append("apply")

    def again() -> Result:
        Story.told.append("apply again")
        return Result(operations=40)

    found = virtual.moved(found, accelerator, progress, again)
    assert found.vm == accelerator == kind
    told = {
        "kvm": ["lab trixie", "boot with kvm", "apply"],
        "tcg": ["lab trixie", "apply", "lab trixie", "boot with tcg", "apply again"],
    }
    assert Story.told == told[kind]
    assert bool(progress.notes) == (kind == "tcg")


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
