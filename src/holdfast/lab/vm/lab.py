"""The lab whose workstation becomes a virtual machine; everything around it stays as it is.

It begins as any lab, in systemd-nspawn, where packages are installed at this computer's own speed. `into_vm` then makes a disk
of its tree and boots that: the same machine, with a kernel of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import cgroups, machine, prerequisites, processes, ssh, state
from holdfast.lab.cleanup import lock
from holdfast.lab.lab import Lab
from holdfast.lab.processes import Process, environment
from holdfast.lab.state import LabState
from holdfast.lab.vm import accel, disk, dress, kept, qemu
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm import machine as virtual
from holdfast.progress import QUIET, Progress

# A login takes seconds there where a processor is made of software.
CONNECT_S = 30
OFF_SECONDS = 300  # systemd gives each unit 90, and there are several to wait for where every processor is wanted


class VmLab(Lab):
    """The lab called ``name`` with a kernel in its tree. ``base``: a tree that has one already."""

    def __init__(self, name: str = "lab", release: str = "trixie", *, base: Path | None = None) -> None:
        super().__init__(name, release, base=base, packages=() if base else dress.PACKAGES)

    def prepare(self, progress: Progress = QUIET) -> None:
        """As any lab. A virtual machine that is off, by itself or by a power cut, is switched on again: the same disk."""
        prerequisites.ensure(progress, vm=True)
        living = state.load(self.name)
        if not (living and living.vm):
            prerequisites.require_memory(vm.MEMORY_MIB)
        if self.is_off():
            self.power_on(progress)
        elif living and living.vm:  # perhaps still booting: whoever began that was interrupted
            with progress.phase("vm: login"):
                self._wait(living)
        elif not vm.disk(self.layout).exists():
            disk.require_room(self.layout.folder)

    def is_off(self) -> bool:
        """Whether there is a virtual machine with its lab around it, and it is off."""
        return state.load(self.name) is None and vm.disk(self.layout).exists() and kept.bootable(self.layout)

    def accelerator(self, progress: Progress = QUIET) -> str:
        """What the virtual machine of this living lab runs with, or would: "kvm" or "tcg". Raises where its tree has no
        kernel: it was not made to become one."""
        if found := self.state().vm:
            return found
        release = dress.kernel(self.layout.tree)
        with progress.phase("vm: try KVM"):
            return accel.choose(self.layout.tree / "boot" / f"vmlinuz-{release}", progress)

    def into_vm(self, accelerator: str, progress: Progress = QUIET) -> LabState:
        """Power the workstation off, make a disk of its tree, boot that. Nothing to do where it is a virtual machine already."""
        found = self.state()
        if found.vm:
            return found
        env, log = environment(found.nonce), self.layout.logs / "vm.log"
        with lock(progress):
            with progress.phase("vm: disk"):
                self._power_off(found)
                # Said before the disk is there: whole, and so under its name, it is all that there is of this machine.
                found.vm = accelerator
                found.site |= vm.patience(accelerator)
                state.save(found)
                dress.dress(self.layout.tree, env=env, log=log)
                disk.make(self.layout.tree, vm.disk(self.layout), env=env, log=log)
            self._switch_on(found)
        with progress.phase("vm: boot"):
            self._wait(found)
        return found

    def _power_off(self, found: LabState) -> None:
        process = _machine(found)
        self.ssh(["sudo", "systemctl", "--no-block", "poweroff"], fresh=True)
        processes.wait_until(
            "the workstation does not power off", lambda: not processes.alive(process), seconds=OFF_SECONDS,
            log=self.layout.logs / "machine.log",
        )  # fmt: skip
        ssh.hang_up(self.layout)
        cgroups.remove(self.layout.cgroup)

    def power_on(self, progress: Progress = QUIET) -> LabState:
        """Boot the disk and wait for the login. Raises HoldfastError when it is on, or does not come up."""
        with lock(progress):
            found = state.read(self.name)
            if not found or not self.is_off():
                raise HoldfastError(f"the lab {self.name} has no virtual machine that is off", fix="./holdfast up --vm")
            self._switch_on(found)
        with progress.phase("vm: boot"):
            self._wait(found)
        return found

    def _switch_on(self, found: LabState) -> None:
        """Needs the lock. Raises HoldfastError where a qemu still has the disk."""
        qemu.require_off(self.layout)
        if self.layout.tree.exists():  # the disk is made of it, and took its place
            shutil.rmtree(self.layout.tree)
        ssh.hang_up(self.layout)
        virtual.plug(self.layout, environment(found.nonce))
        process = virtual.boot(self.layout, found.nonce, found.vm)
        found.processes = [p for p in found.processes if p.role != "machine"] + [process]
        state.save(found)

    def _wait(self, found: LabState, not_boot_id: str = "", seconds: float = vm.BOOT_SECONDS) -> str:
        """Until one can log in; returns the boot id. Raises HoldfastError with what the console, or its supply, tells."""
        process = _machine(found)
        try:
            return machine.wait(self.layout, process, not_boot_id=not_boot_id, seconds=seconds, connect_s=CONNECT_S)
        except HoldfastError as error:
            raise virtual.telling(self.layout, process, error) from None

    def cut_power(self) -> None:
        """kill -9 of qemu: a power cut. `power_on` boots what is on the disk."""
        found = self.state()
        virtual.cut_power(self.layout, found.nonce, _machine(found))
        ssh.hang_up(self.layout)

    def reboot(self) -> str:
        """As its user would; returns the new boot id once one can log in again."""
        found = self.state()
        before = self._wait(found, seconds=machine.BOOT_SECONDS)
        self.ssh(["sudo", "systemctl", "--no-block", "reboot"])
        ssh.hang_up(self.layout)
        return self._wait(found, not_boot_id=before)


def _machine(found: LabState) -> Process:
    process = found.process("machine")
    assert process is not None
    return process
