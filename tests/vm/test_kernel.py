"""What a kernel of one's own is needed for, in one life of one machine: the tests stand in its order."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from typing import Any

import pytest
from tests.vm import cards, kernels
from tests.vm.conftest import Virtual
from tests.vm.machine import DRIVER, SMALL, VmMachine

from holdfast.errors import HoldfastError
from holdfast.lab.vm import layout as vm

CUTS = int(os.environ.get("HOLDFAST_SOAK") or 1)
# Installed with the driver, and of no use on this kernel and without a card.
WITHOUT_A_CARD = {"systemd-modules-load.service", "nvidia-persistenced.service"}


def both_answer(machine: VmMachine) -> None:
    models = machine.state().models
    for role in ("coder", "reasoner"):
        assert models[role] in machine.says(role)


def test_what_was_provisioned_elsewhere_is_as_it_should_be(virtual: Virtual) -> None:
    """Another kernel, another init, a disk instead of a folder: the apply finds nothing to do."""
    machine = virtual.machine
    assert machine.kernel() != os.uname().release and machine.kernel() != virtual.new
    assert machine.root("systemd-detect-virt --container", status=1).strip() == "none"
    failed = {
        line.split()[0] for line in machine.root("systemctl list-units --failed --no-legend --plain").splitlines()
    }
    assert failed <= WITHOUT_A_CARD, failed
    told = machine.apply(SMALL)
    assert told.changed == [], "nothing that an apply manages here is the kernel's: without cards it installs no driver"


def test_one_reboot_in_the_middle_of_an_apply_that_ends(virtual: Virtual) -> None:
    """A kernel upgrade: the running kernel has no module, the next one has. The apply reboots and goes on."""
    machine = virtual.machine
    kernels.upgrade(machine)
    cards.plug(machine)
    found, before, boots = machine.driver(), machine.boot_id(), len(machine.booted())
    assert not found.container and len(found.gpus) == 2
    assert (found.kernel != virtual.new, found.next_kernel, found.running.module) == (True, virtual.new, "")
    seen: list[str] = []

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "operation_end":
            seen.append(event["name"])

    told = machine.apply(DRIVER, {"nvidia.reboot_timeout_s": vm.BOOT_SECONDS * 2}, heard)
    said = "\n".join(told.notes)
    assert f"reboot: kernel {found.kernel}, which runs, has no module; {virtual.new} has it" in said, said
    assert any("to boot" in what for what in told.waited), told.waited
    middle = next(n for n, name in enumerate(seen) if "Bring the NVIDIA driver into use" in name)
    assert seen[middle + 1 :], "nothing came after the reboot"
    assert machine.kernel() == virtual.new and machine.boot_id() != before
    assert len(machine.booted()) == boots + 1, "more than one reboot"
    both_answer(machine)


def test_the_module_that_was_built_elsewhere_is_loaded_up_to_the_missing_card(virtual: Virtual) -> None:
    machine = virtual.machine
    assert machine.root("cat /sys/module/module/parameters/sig_enforce").strip() == "N"
    said = machine.root("modprobe nvidia-current", status=1)
    assert "No such device" in said, said
    assert "No NVIDIA GPU found" in machine.root("dmesg | grep NVRM")


@pytest.mark.parametrize("turn", range(CUTS))
def test_after_a_power_cut_at_any_moment_an_apply_converges(virtual: Virtual, turn: int) -> None:
    """kill -9 of qemu. From this boot on the kernel takes signed modules only."""
    machine = virtual.machine
    vm.command_line(machine.layout).write_text("module.sig_enforce=1\n")
    values = {"instances.coder.context": 4096 + 1024 * (1 + turn % 4)}
    # Every second cut, and the only one, falls into the second half: there stand the operations that write what is new.
    # $CUT="SHARE SECONDS" is a cut again that was told of.
    told = [float(word) for word in os.environ.get("CUT", "").split()]
    share, later = told or (random.uniform(0 if turn % 2 else 0.5, 1), random.uniform(0, 8))
    sys.stdout.write(where := f"cut at {share:.3f} of the operations, {later:.1f} s later\n")
    timers: list[threading.Timer] = []
    failed: list[Exception] = []

    def cut() -> None:
        try:
            machine.cut_power()
        except Exception as error:  # of a thread of its own, where nobody would see it
            failed.append(error)

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "operation" and event["n"] >= share * event["of"] and not timers:
            timers.append(threading.Timer(later, cut))
            timers[0].start()

    with contextlib.suppress(HoldfastError):  # as it must, unless the cut came after the last operation
        machine.apply(SMALL, values, heard)
    assert timers, f"{where}: never came to it"
    timers[0].join()
    assert not failed, (where, failed)
    assert machine.is_off(), where
    machine.power_on()
    machine.apply(SMALL, values)
    assert machine.apply(SMALL, values).changed == [], where
    both_answer(machine)


def test_a_kernel_that_takes_signed_modules_only_refuses_it(virtual: Virtual) -> None:
    """It stands for Secure Boot: the same refusal, by the same key. After the cut, which was a boot with the parameter."""
    machine = virtual.machine
    assert machine.root("cat /sys/module/module/parameters/sig_enforce").strip() == "Y"
    assert "Key was rejected by service" in machine.root("modprobe nvidia-current", status=1)
    found = machine.driver()
    assert found.signatures_enforced and not found.key.enrolled and found.running.module
    assert "No NVIDIA GPU found" not in machine.root("dmesg")
