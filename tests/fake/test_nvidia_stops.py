"""What keeps the driver from a machine, or the machine from a reboot: each told by name, and nothing left half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fake import cards, engine
from tests.fake.cards import KERNEL
from tests.fake.gpubox import bare, driven, notes, works
from tests.fake.machine import Machine

from holdfast.components.nvidia.sources import KEYRING, SOURCE
from holdfast.operations import reboot


def test_a_generation_is_waited_for_and_one_that_does_not_end_is_not_cut(required: dict[str, Any]) -> None:
    m = bare()
    m.driver.busy, m.driver.busy_for = ["ollama@coder is answering"], 3
    short = m.copy()
    short.driver.busy_for = 10**6
    done = engine.run(m, required)
    assert not done.failed and m.driver.boots == 1
    assert any(
        "ollama@coder is answering" in str(event.get("what")) for event in done.events if event["event"] == "waiting"
    )
    done = engine.run(short, required)
    assert done.failed and short.driver.boots == 0 and "not now: ollama@coder is answering" in done.errors[0]["message"]
    assert not engine.run(short, {**required, "nvidia": {"reboot": "always"}}).failed
    assert short.driver.boots == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"nvidia": {"reboot": "never"}}, "nouveau holds the cards"), ({"local": True}, "cannot reboot and go on")],
    ids=["never", "local"],
)
def test_a_reboot_that_is_left_to_a_person_is_exit_3_and_nothing_is_repeated(
    settings: dict[str, Any], words: str, required: dict[str, Any]
) -> None:
    m = bare()
    done = engine.run(m, {**required, **settings})
    assert done.failed and m.driver.boots == 0
    assert done.errors[0]["code"] == 3 and words in done.errors[0]["message"]
    installed = [what for _, what in m.log if what.startswith("apt ")]
    cards.reboots(m, None, "")  # type: ignore[arg-type]
    m.driver.down = 0
    done = engine.run(m, {**required, **settings})
    assert not done.failed and works(m)
    assert [what for _, what in m.log if what.startswith("apt ")] == installed


def test_a_disk_that_asks_for_a_passphrase(required: dict[str, Any]) -> None:
    m = bare()
    m.driver.passphrases = ["root"]
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 0 and "passphrase" in done.errors[0]["message"]
    assert "a disk asks for a passphrase" in notes(engine.run(bare_with(m), required, dry=True))


def test_a_way_around_that_leads_back_here(
    required: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH to one's own address."""
    (tmp_path / "boot_id").write_text("boot-0\n")
    monkeypatch.setattr(reboot, "BOOT_ID", str(tmp_path / "boot_id"))
    m = bare()
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 0 and done.errors[0]["code"] == 3


def bare_with(m: Machine) -> Machine:
    new = bare(python=True)
    new.driver.passphrases = m.driver.passphrases
    return new


def test_secure_boot_needs_a_person_and_says_how(required: dict[str, Any]) -> None:
    m = bare(python=True)
    m.driver.secure_boot = True
    assert "Secure Boot is on" in notes(engine.run(m, required, dry=True))
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 0
    assert "needs_key" in done.errors[0]["message"] and "mokutil --import" in done.errors[0]["fix"]
    prebuilt = bare("ubuntu", "noble", python=True)
    prebuilt.driver.secure_boot = True
    assert not engine.run(prebuilt, required).failed and works(prebuilt)


def test_another_key_than_the_pinned_one_opens_nothing(required: dict[str, Any]) -> None:
    m = bare("debian", "bookworm")
    m.driver.vendor_key = "0" * 40
    done = engine.run(m, required)
    assert done.failed and "is key 0000" in done.errors[0]["message"]
    assert SOURCE not in m.disk and KEYRING not in m.disk and m.library == ""


def test_cards_that_no_driver_drives_stop_it_before_anything_is_changed(required: dict[str, Any]) -> None:
    m = bare(python=True)
    m.driver.device = "0x1180"
    done = engine.run(m, required)
    assert done.failed and m.log == [] and "no driver drives all" in done.errors[0]["message"]


def test_a_card_that_cuda_13_does_not_know(required: dict[str, Any]) -> None:
    """A GTX 1080 Ti; an RTX 3090 is the control."""
    asked = {**required, "ollama": {"llm_library": "cuda_v13"}}
    m = bare(python=True)
    m.driver.device = "0x1b06"
    done = engine.run(m, asked)
    assert done.failed and m.log == [] and "CUDA 13 does not know" in done.errors[0]["message"]
    assert done.errors[0]["where"] == "ollama.llm_library: cuda_v13"
    assert not engine.run(bare(python=True), asked, dry=True).failed


def test_a_reboot_that_does_not_help_is_not_asked_for_again(required: dict[str, Any]) -> None:
    m = bare()
    m.driver.stubborn = True
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 1
    assert "was rebooted, and still: nouveau holds the cards" in done.errors[0]["message"], done.errors
    assert "dmesg" in done.errors[0]["fix"] and "reboot" not in done.errors[0]["fix"]


def test_a_build_that_fails_leaves_apt_whole_and_says_which_line(required: dict[str, Any]) -> None:
    m = bare()
    m.driver.unbuildable = (KERNEL,)
    done = engine.run(m, required)
    assert done.failed and m.driver.boots == 0
    assert m.driver.states == {} and "nvidia-kernel-dkms" not in m.packages
    error = done.errors[0]
    assert (
        f"does not build for kernel {KERNEL}: nv-pci.c:237: error" in error["message"]
        and "nvidia.source" in error["fix"]
    )
    # The cause is gone: the same command ends where it should.
    m.driver.unbuildable = ()
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert works(m) and m.driver.boots == 1


def test_a_driver_in_use_whose_modules_had_to_go_is_an_error_and_not_a_quiet_end(required: dict[str, Any]) -> None:
    m = driven(required)
    m.driver.states, m.driver.unbuildable = {"nvidia-kernel-dkms": "iF"}, (KERNEL,)
    m.driver.kernels[KERNEL] = {**m.driver.kernels[KERNEL], "module": ""}
    done = engine.run(m, required)
    assert done.failed and works(m), "what is loaded computes on"
    assert "the machine boots, without a driver" in done.errors[0]["message"] and "nvidia.source" in done.errors[0]["fix"]
    # It can be built again: the next apply brings the package and the module back, and reboots for nothing.
    m.driver.unbuildable, boots = (), m.driver.boots
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert "nvidia-kernel-dkms" in m.packages and m.driver.kernels[KERNEL]["module"] == m.library and m.driver.boots == boots


def test_a_power_cut_in_the_drivers_setup_takes_nothing_out(required: dict[str, Any]) -> None:
    """A log of a build that failed, for a kernel that is gone, lies there since long ago."""
    m = driven(required)
    m.driver.states = {"nvidia-kernel-dkms": "iF"}
    m.driver.failures = [{"module": "nvidia-current", "version": m.library, "kernel": "7.3.4", "line": "error: x", "log": "/l"}]
    before = len(m.log)
    done = engine.run(m, required)
    assert not done.failed and works(m), done.errors
    said = [what for _, what in m.log[before:]]
    assert "dpkg --configure -a" in said and not [what for what in said if what.startswith("purge")]


def test_what_another_apt_has_half_done_is_waited_for_and_not_repaired(required: dict[str, Any]) -> None:
    m = driven(required)
    m.packages.pop("nvidia-smi")
    m.driver.upgrading, m.driver.upgrading_for = ["libcuda1", "nvidia-kernel-dkms"], 4
    before = len(m.log)
    done = engine.run(m, required)
    assert not done.failed, done.errors
    assert any("apt-get (pid 77)" in str(e.get("what")) for e in done.events if e["event"] == "waiting")
    assert not [what for _, what in m.log[before:] if what.startswith(("purge", "dpkg"))]
    # The positive control: without anybody at work the same states are damage, and are repaired.
    m.driver.states = {"libcuda1": "iU"}
    done = engine.run(m, required)
    assert not done.failed and "dpkg --configure -a" in [what for _, what in m.log[before:]]


def test_anothers_half_installed_package_does_not_stop_an_apply_where_the_driver_works(required: dict[str, Any]) -> None:
    m = driven(required)
    m.driver.states = {"cups": "iF"}
    before = len(m.log)
    plan, done = engine.run(m.copy(), required, dry=True), engine.run(m, required)
    assert not plan.planned and not done.failed and not done.changed, (plan.planned, done.errors, done.changed)
    assert "dpkg --configure -a" not in [what for _, what in m.log[before:]]
    assert "half-installed packages: cups" in notes(done) and "Fix: on the machine: sudo dpkg --configure -a" in notes(done)


def test_a_container_is_not_rebooted_for_its_hosts_kernel(required: dict[str, Any]) -> None:
    m = bare(python=True)
    m.driver.container = True
    assert "a container has its host's kernel" in notes(engine.run(m.copy(), required, dry=True))
    done = engine.run(m, {**required, "nvidia": {"reboot": "always"}})
    assert done.failed and m.driver.boots == 0
    assert "a container cannot reboot for it" in done.errors[0]["message"]
    assert "the machine that this one runs on" in done.errors[0]["fix"]


def test_a_card_that_a_virtual_machine_has_is_met_before_anything_is_changed(required: dict[str, Any]) -> None:
    m = bare()
    m.cards[cards.RIGHT] = "vfio-pci"
    done = engine.run(m, required)
    assert done.failed and f"({cards.RIGHT}) is handed to a virtual machine (vfio-pci)" in done.errors[0]["message"]
    assert "take it back" in done.errors[0]["fix"] and m.log == [] and m.driver.boots == 0
