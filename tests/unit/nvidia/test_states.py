"""Every state, from folders that look like machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.nvidia.states import HERE, STATES
from tests.unit.nvidia.trees import (
    CARDS,
    ENFORCED,
    GPUS,
    NEW,
    OLD,
    READY,
    SECURE_BOOT,
    SHIM_IGNORES,
    Files,
    N,
    V,
    boot,
    card,
    holder,
    library,
    loaded,
    module,
    read,
    tree,
)

from holdfast.components.nvidia.classify import classify, findings
from holdfast.components.nvidia.facts import from_json, read_machine


@pytest.mark.parametrize(("files", "state", "reason", "fix"), STATES.values(), ids=STATES)
def test_states(tmp_path: Path, files: Files, state: str, reason: str, fix: str) -> None:
    found = read(tmp_path, files)
    finding = classify(found, {}, 550)
    assert (finding.state, finding.reason if reason not in finding.reason else reason) == (state, reason)
    assert fix in finding.fix
    assert finding.words
    assert bool(findings(found, {}, 550)) == (state not in ("ready", "no_gpu"))
    beside = found.broken_packages == ("a",)  # none of the driver's
    assert finding.usable == (
        state == "ready" or beside or (state == "next_kernel_broken" and found.module == found.library)
    )
    assert bool(finding.problems) != finding.usable


def test_a_recorded_state_is_the_same_machine(tmp_path: Path) -> None:
    """What `status --json` and the tests keep can be looked at again anywhere."""
    for number, (files, state, _, _) in enumerate(STATES.values()):
        recorded = json.dumps(read_machine(str(tree(tmp_path / str(number), files))))
        assert classify(from_json(recorded), {}, 550).state == state
        assert from_json(json.loads(recorded)) == from_json(recorded)
    for wrong in ("[]", "{}", '{"gpus": 1}', "no JSON"):
        with pytest.raises(ValueError):
            from_json(wrong)


def test_declared_cards_that_are_not_there(tmp_path: Path) -> None:
    found = read(tmp_path, {**READY, **card("0000:09:00.0")})
    assert classify(found, GPUS, 550).usable
    finding = classify(found, {"third": "0000:0a:00.0"}, 550)
    assert (finding.state, finding.usable) == ("ready", False)
    assert finding.problems == ("no NVIDIA GPU at 0000:0a:00.0 (gpus.third)",) and "lspci" in finding.fix
    assert findings(found, {"third": "0000:0a:00.0"}, 550)[0][0] == finding.problems[0] and "powered" in finding.fix


def test_a_card_that_a_virtual_machine_has(tmp_path: Path) -> None:
    drivers = {"sys/bus/pci/devices/0000:01:00.0/driver": "../../../../bus/pci/drivers/nvidia",
               "sys/bus/pci/devices/0000:02:00.0/driver": "../../../../bus/pci/drivers/vfio-pci"}  # fmt: skip
    found = read(tmp_path, READY, links=drivers)
    assert [gpu.driver for gpu in found.gpus] == ["nvidia", "vfio-pci"]
    finding = classify(found, GPUS, 550)
    words = "GeForce RTX 3090 at 0000:02:00.0 is handed to a virtual machine (vfio-pci)"
    [(told, fix)] = findings(found, GPUS, 550)
    assert (told, finding.problems, finding.missing, finding.usable) == (words, (words,), (), False)
    assert fix == finding.fix and "take it back" in fix and "out of `gpus`" in fix and "lspci" not in fix
    # One that nothing is to run on may be there.
    left = classify(found, {"left": GPUS["left"]}, 550)
    assert left.usable and left.notes == (words,)


def test_shim_that_validates_nothing(tmp_path: Path) -> None:
    on: Files = {SECURE_BOOT: b"\x06\0\0\0\x01"}
    assert classify(read(tmp_path / "on", {**HERE, **on}), {}, 550).state == "needs_key"
    off = read(tmp_path / "off", {**HERE, **on, SHIM_IGNORES: b"\x06\0\0\0\x01"})
    assert not off.secure_boot and classify(off, {}, 550).state == "needs_reload"


def test_a_key_for_the_next_kernel(tmp_path: Path) -> None:
    """What runs has been accepted; the next kernel's module is signed with the same key."""
    on: Files = {SECURE_BOOT: b"\x06\0\0\0\x01", **ENFORCED}
    assert classify(read(tmp_path, {**READY, **on, **boot(NEW), **module(NEW, V)}), {}, 550).state == "ready"


def test_held_by_a_person_and_by_a_service(tmp_path: Path) -> None:
    newer = {**CARDS, **boot(OLD), **module(OLD, N), **library(N), **loaded(V)}
    service = holder(71, "llama-server", "/system.slice/system-ollama.slice/ollama@coder.service")
    person = holder(72, "python3", "/user.slice/user-1000.slice/session-3.scope")
    links = {f"proc/{pid}/fd/7": "/dev/nvidia0" for pid in (71, 72)}
    found = read(tmp_path / "both", {**newer, **service, **person, **holder(73, "bash", "/")}, links=links)
    assert [(h.pid, h.unit) for h in found.holders] == [(71, "ollama@coder.service"), (72, "")]
    finding = classify(found, {}, 550)
    assert finding.state == "needs_reboot" and "held by python3 (pid 72)" in finding.reason
    found = read(tmp_path / "service", {**newer, **service}, links={"proc/71/fd/7": "/dev/nvidia0"})
    assert classify(found, {}, 550).state == "needs_reload"
