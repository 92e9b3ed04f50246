"""The virtual machine's power supply: runs qemu, and runs it again when the machine reboots.

Started as a process of the lab (`machine.boot`). It ends when the machine powers off, when qemu is killed (a power cut), and
with an error when the kernel panics or the machine resets again and again before it is up. qemu ends with it.
Between two boots it does what firmware and boot loader do: it mends the file system and takes the kernel from the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable

from holdfast.errors import HoldfastError
from holdfast.lab import state
from holdfast.lab.layout import Layout
from holdfast.lab.vm import boot_files, console, qemu
from holdfast.lab.vm import layout as vm

EARLY_RESETS = 3  # in a row, before systemd is up: it will not come up the next time either
AGAIN = "./holdfast up --vm boots the same disk again; if that ends like this too: ./holdfast down, then ./holdfast up --vm"


def reason(lines: list[bytes]) -> str:
    """Why qemu ended, in its own word (guest-reset, guest-shutdown, guest-panic …); "" when it could not say."""
    for line in lines:
        message = json.loads(line) if line.strip().endswith(b"}") else {}
        if message.get("event") == "SHUTDOWN":
            return str(message["data"]["reason"])
    return ""


def say(line: str) -> None:
    """A line of the machine's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def one_boot(layout: Layout, accelerator: str, memory_mib: int) -> str:
    """From power-on to the end; returns the reason. Raises HoldfastError where the disk is in use, broken or bare."""
    qemu.require_off(layout)
    boot_files.repair(vm.disk(layout))
    files = boot_files.extract(vm.disk(layout), vm.folder(layout))
    say(f"boots {files.release} with {accelerator}")
    vm.control_socket(layout).unlink(missing_ok=True)
    # It dies with this process: a qemu without a supply would go on with a disk that the next one mends and boots.
    inside = ["ip", "netns", "exec", layout.netns("router"), "setpriv", "--pdeathsig", "KILL"]
    child = subprocess.Popen([*inside, *qemu.command(layout, files, accelerator, memory_mib)], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    with socket.socket(socket.AF_UNIX) as control:
        while child.poll() is None:
            try:
                control.connect(str(vm.control_socket(layout)))
                break
            except OSError:
                time.sleep(0.05)
        else:
            return ""
        control.sendall(b'{"execute": "qmp_capabilities"}\n')
        with control.makefile("rb") as lines:
            said = reason([line for line in _until_end(lines) if b"SHUTDOWN" in line])
    child.wait()
    return said


def _until_end(lines: Iterable[bytes]) -> list[bytes]:
    found = []
    with contextlib.suppress(ConnectionError):  # killed
        for line in lines:
            found.append(line)
    return found


def supply(layout: Layout, accelerator: str, memory_mib: int) -> str:
    """Boot it, and boot it again at each reboot; returns why it is off.

    Raises HoldfastError after a kernel's panic, which is no reboot and comes again, and as `one_boot`.
    """
    early = 0
    while True:
        offset = console.size(vm.serial_log(layout))
        ended = one_boot(layout, accelerator, memory_mib)
        say(f"qemu ended: {ended or 'killed, or it could not start'}")
        if ended != "guest-reset":
            return ended
        told = console.since(vm.serial_log(layout), offset)
        early = 0 if console.reached_user_space(told) else early + 1
        if why := console.panic(told):
            raise HoldfastError(
                f"the virtual machine is off, its kernel stopped: {why}", where=str(vm.serial_log(layout)), fix=AGAIN
            )
        if early == EARLY_RESETS:
            last = next((line for line in reversed(told.splitlines()) if line.strip()), "it said nothing")
            raise HoldfastError(
                f"the virtual machine is off: {early} times in a row it reset before systemd was up; its last line: {last}",
                where=str(vm.serial_log(layout)), fix=AGAIN,
            )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--accelerator", choices=("kvm", "tcg"), required=True)
    parser.add_argument("--memory-mib", type=int, default=vm.MEMORY_MIB)
    args = parser.parse_args()
    layout = Layout(args.name)
    try:
        return 0 if supply(layout, args.accelerator, args.memory_mib) == "guest-shutdown" else 1
    except HoldfastError as error:
        say(error.render())
        state.write(vm.failure(layout), error.data())
        return 1


if __name__ == "__main__":
    sys.exit(main())
