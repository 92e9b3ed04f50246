"""The workstation as a virtual machine: its cable, its power switch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import processes
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, start
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm import qemu
from holdfast.lab.vm.power import AGAIN
from holdfast.paths import ROOT
from holdfast.proc import run


def plug(layout: Layout, env: dict[str, str]) -> None:
    """Put a tap device in the place of the cable that leads to the workstation's namespace. Harmless twice.

    Both its ends are in the router's namespace, where qemu runs too: nothing of it shows up in this computer's network.
    """
    router, fix = layout.netns("router"), "is /dev/net/tun there (modprobe tun)? Else ./holdfast down, then ./holdfast up --vm"
    run(["ip", "-n", router, "link", "delete", qemu.CABLE], env=env, check=False)
    run(["ip", "-n", router, "tuntap", "add", "dev", qemu.CABLE, "mode", "tap"], env=env, fix=fix)
    run(["ip", "-n", router, "link", "set", qemu.CABLE, "master", "br-lan", "up"], env=env, fix=fix)


def boot(layout: Layout, nonce: str, accelerator: str) -> Process:
    """Switch it on and return at once; `holdfast.lab.machine.wait` waits for the login."""
    argv: list[str | Path] = [sys.executable, "-m", "holdfast.lab.vm.power", layout.name, "--accelerator", accelerator]
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    vm.failure(layout).unlink(missing_ok=True)
    layout.sockets.mkdir(parents=True, exist_ok=True)
    return start("machine", argv, nonce=nonce, log=layout.logs / "machine.log", env=env)


def telling(layout: Layout, process: Process, error: HoldfastError) -> HoldfastError:
    """What to say of a boot that ended in ``error``: why the supply gave up, else with the console's last lines."""
    if not processes.alive(process) and vm.failure(layout).exists():
        return HoldfastError.of(json.loads(vm.failure(layout).read_text()))
    log = vm.serial_log(layout)
    words = processes.tail(log)
    return HoldfastError(
        error.message + (f"\n  its console ({log}):\n  {words}" if words else ""), where=error.where, fix=AGAIN
    )


def cut_power(layout: Layout, nonce: str, process: Process) -> None:
    """Kill qemu with SIGKILL: nothing in the machine gets to write another byte. Raises where it does not run."""
    pid = qemu.running(layout)
    if pid not in processes.of_nonce(nonce):
        raise HoldfastError("the virtual machine is not on", where=str(vm.pid_file(layout)), fix="switch it on first")
    processes.kill([pid])
    processes.wait_until("the virtual machine's supply does not end", lambda: not processes.alive(process), seconds=20)
