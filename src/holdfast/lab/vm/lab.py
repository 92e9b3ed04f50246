"""The lab whose workstation becomes a virtual machine; everything around it stays as it is.

It begins as any lab, in systemd-nspawn, where packages are installed at this computer's own speed. `into_vm` then makes a disk
of its tree and boots that: the same machine, with a kernel of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import cgroups, machine, prerequisites, processes, ssh, state
from holdfast.lab.cleanup import lock
from holdfast.lab.lab import Lab
from holdfast.lab.processes import environment
from holdfast.lab.state import LabState
from holdfast.lab.vm import accel, disk, dress
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm import machine as virtual
from holdfast.progress import QUIET, Progress

# A login takes seconds there where a processor is made of software.
CONNECT_S = 30


class VmLab(Lab):
    """The lab called ``name`` with a kernel in its tree. ``base``: a tree that has one already."""

    def __init__(self, name: str = "lab", release: str = "trixie", *, base: Path | None = None) -> None:
        super().__init__(name, release, base=base, packages=() if base else dress.PACKAGES)

    def up(self, progress: Progress = QUIET, models: Mapping[str, Path] | None = None) -> LabState:
        """As any lab. A virtual machine that is off, by itself or by a power cut, is switched on again: the same disk."""
        prerequisites.ensure(progress, vm=True)
        found = state.read(self.name)
        if self.is_off():
            self.power_on(progress)
        elif not (found and found.vm):
            disk.require_room(self.layout.folder)
        return super().up(progress, models)

    def is_off(self) -> bool:
        """Whether there is a virtual machine with its lab around it, and it is off."""
        found = state.read(self.name)
        around = all(Path("/run/netns", name).exists() for name in self.layout.namespaces.values())
        return bool(found and found.vm and state.load(self.name) is None and vm.disk(self.layout).exists() and around)

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
                dress.dress(self.layout.tree, env=env, log=log)
                disk.make(self.layout.tree, vm.disk(self.layout), env=env, log=log)
                shutil.rmtree(self.layout.tree)
                virtual.plug(self.layout, env)
            found.vm = accelerator
            found.site |= vm.patience(accelerator)
            state.save(found)
        return self.power_on(progress)

    def _power_off(self, found: LabState) -> None:
        process = found.process("machine")
        assert process is not None
        self.ssh(["sudo", "systemctl", "--no-block", "poweroff"], fresh=True)
        processes.wait_until("the workstation does not power off", lambda: not processes.alive(process), seconds=90)
        ssh.hang_up(self.layout)
        cgroups.remove(self.layout.cgroup)

    def power_on(self, progress: Progress = QUIET) -> LabState:
        """Boot the disk and wait for the login. Raises HoldfastError when it is on, or does not come up."""
        found = state.read(self.name)
        if not found or not found.vm or state.load(self.name):
            raise HoldfastError(f"the lab {self.name} has no virtual machine that is off", fix="./holdfast up --vm")
        ssh.hang_up(self.layout)
        with progress.phase("vm: boot"):
            process = virtual.boot(self.layout, found.nonce, found.vm)
            found.processes = [p for p in found.processes if p.role != "machine"] + [process]
            state.save(found)
            machine.wait(self.layout, process, seconds=vm.BOOT_SECONDS, connect_s=CONNECT_S)
        return found

    def cut_power(self) -> None:
        """kill -9 of qemu: a power cut. `power_on` boots what is on the disk."""
        found = self.state()
        process = found.process("machine")
        assert process is not None
        virtual.cut_power(self.layout, found.nonce, process)
        ssh.hang_up(self.layout)

    def reboot(self) -> str:
        """As its user would; returns the new boot id once one can log in again."""
        process = self.state().process("machine")
        assert process is not None
        before = machine.wait(self.layout, process, connect_s=CONNECT_S)
        self.ssh(["sudo", "systemctl", "--no-block", "reboot"])
        ssh.hang_up(self.layout)
        return machine.wait(self.layout, process, not_boot_id=before, seconds=vm.BOOT_SECONDS, connect_s=CONNECT_S)
