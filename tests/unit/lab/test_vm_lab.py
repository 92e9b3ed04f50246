"""A lab whose workstation is a virtual machine, without one: what is never removed, and in what order it is switched on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import depot
from holdfast.errors import HoldfastError
from holdfast.lab import lab as module
from holdfast.lab import processes, state
from holdfast.lab.layout import Layout, labs_dir
from holdfast.lab.processes import Process
from holdfast.lab.state import LabState
from holdfast.lab.vm import kept, qemu
from holdfast.lab.vm import lab as vm_module
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm.lab import VmLab
from holdfast.progress import QUIET


def here() -> Process:
    found = processes._stat(os.getpid())
    assert found is not None
    return Process("machine", os.getpid(), found[1])


def dead() -> Process:
    return Process("machine", os.getpid(), 0)


def lab(*, alive: bool = False, kind: str = "tcg", disk: bool = True) -> LabState:
    layout = Layout("few")
    vm.folder(layout).mkdir(parents=True)
    if disk:
        vm.disk(layout).write_bytes(b"what its user has done")
    found = LabState("few", "nonce", "trixie", "c", {"profile": "lab"}, {}, {}, {}, [here() if alive else dead()], vm=kind)
    state.save(found)
    return found


@pytest.fixture(autouse=True)
def no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is installed, fetched, made or removed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(vm_module.prerequisites, "ensure", lambda *words, **options: [])
    monkeypatch.setattr(vm_module.prerequisites, "require_memory", lambda mib: None)
    monkeypatch.setattr(depot, "fetch", lambda progress: {})
    monkeypatch.setattr(depot, "path", lambda name: tmp_path / name)
    yield


def removed(*words: Any) -> None:
    raise LookupError("removed")


@pytest.mark.parametrize("kind", [module.Lab, VmLab])
@pytest.mark.parametrize("around", [True, False], ids=["off", "and its networks are gone"])
def test_a_start_never_removes_the_disk_of_a_virtual_machine(
    kind: type[module.Lab], around: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab()
    monkeypatch.setattr(module, "remove", removed)
    monkeypatch.setattr(kept, "bootable", lambda layout: around)
    monkeypatch.setattr(VmLab, "is_off", lambda it: False)  # else it would be switched on
    with pytest.raises(HoldfastError, match="is a virtual one that is off") as told:
        kind("few", "trixie").up()
    assert told.value.where == str(vm.disk(Layout("few"))) and "./holdfast down" in told.value.fix
    assert ("./holdfast up --vm switches it on" in told.value.fix) == around
    vm.disk(Layout("few")).unlink()
    with pytest.raises(LookupError, match="removed"):
        kind("few", "trixie").up()


def test_it_needs_its_networks_and_its_state_to_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    lab()
    assert not kept.bootable(Layout("few")) and not VmLab("few").is_off()
    monkeypatch.setattr(Layout, "namespaces", {"router": "/proc/self/ns/net"})  # one that is there
    assert kept.bootable(Layout("few")) and VmLab("few").is_off()
    Layout("few").state.write_text("{")
    assert not kept.bootable(Layout("few"))


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to a virtual machine that is off, and whether the lock of all labs was held then."""
    told: list[str] = []

    def tell(what: str, gives: Any = None) -> Any:
        def act(*words: Any, **options: Any) -> Any:
            told.append(f"{what}, {'locked' if held() else 'free'}")
            return gives() if gives else None

        return act

    monkeypatch.setattr(kept, "bootable", lambda layout: True)
    monkeypatch.setattr(vm_module.ssh, "hang_up", lambda layout: None)
    monkeypatch.setattr(vm_module.virtual, "plug", tell("plug"))
    monkeypatch.setattr(vm_module.virtual, "boot", tell("boot", here))
    monkeypatch.setattr(vm_module.machine, "wait", tell("wait"))
    return told


def held() -> bool:
    folder = os.open(labs_dir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def test_it_is_switched_on_under_the_lock_and_waited_for_without(story: list[str]) -> None:
    lab()
    Layout("few").tree.mkdir()
    found = VmLab("few").power_on()
    assert story == ["plug, locked", "boot, locked", "wait, free"]
    assert not Layout("few").tree.exists(), "the disk took its place"
    assert state.load("few") == found
    with pytest.raises(HoldfastError, match="no virtual machine that is off") as told:
        VmLab("few").power_on()
    assert told.value.fix and len(story) == 3


def test_it_is_not_switched_on_while_a_qemu_has_its_disk(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lab()
    monkeypatch.setattr(qemu, "running", lambda layout: 4321)
    with pytest.raises(HoldfastError, match="pid 4321"):
        VmLab("few").power_on()
    assert story == []


def test_an_up_switches_on_or_waits_for_the_boot_that_another_began(story: list[str]) -> None:
    lab()
    VmLab("few").prepare()
    assert story == ["plug, locked", "boot, locked", "wait, free"]
    VmLab("few").prepare()
    assert story[3:] == ["wait, free"]


def test_the_telling_line_comes_from_where_it_waits(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lab()
    why = HoldfastError("Kernel panic - not syncing: Attempted to kill init!", where="console", fix="again")

    def ended(layout: Layout, *words: Any, **options: Any) -> str:
        state.write(vm.failure(layout), why.data())
        raise HoldfastError("ended while it booted", fix="./holdfast down")

    monkeypatch.setattr(vm_module.machine, "wait", ended)
    monkeypatch.setattr(vm_module.virtual, "boot", lambda *words: dead())
    with pytest.raises(HoldfastError, match="Attempted to kill init") as told:
        VmLab("few").power_on()
    assert told.value.data() == why.data()


def test_memory_is_asked_for_where_none_runs_yet(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(mib: int) -> None:
        raise HoldfastError(f"no {mib}")

    monkeypatch.setattr(vm_module.prerequisites, "require_memory", lacks)
    with pytest.raises(HoldfastError, match=f"no {vm.MEMORY_MIB}"):
        VmLab("few").prepare()
    lab(alive=True)
    VmLab("few").prepare()
    assert story == ["wait, free"]


@pytest.mark.parametrize("kind", ["tcg", "kvm", ""])
def test_what_is_mended_keeps_its_kind_and_its_patience(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `up` on a living lab writes its block of hosts.yml anew."""
    found = lab(alive=True, kind=kind, disk=bool(kind))
    roles = ("uplink", "depot", "registry", "control", *module.MEMBERS)
    found.processes = [Process(role, here().pid, here().start_ticks) for role in (*roles, "machine")]
    monkeypatch.setattr(module.models, "make", lambda folder, overrides: {})
    monkeypatch.setattr(module.site, "block", lambda layout, pins: {"profile": "lab"})
    made = module._Making(Layout("few"), "nonce", "trixie", QUIET)
    control: Any = SimpleNamespace(
        start=lambda: here(), ca=tmp_path, logged_out=list, mint=lambda key, tagged: None, addresses=lambda name: {}
    )
    made.control = control
    told = made.mend(found, None)
    assert told.vm == kind and told.site == {"profile": "lab", **vm.patience(kind)} == state.read("few").site  # type: ignore[union-attr]
    assert ("open_webui" in told.site) == (kind == "tcg"), "a processor that is made of software"
