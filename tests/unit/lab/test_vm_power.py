"""The power supply of a virtual machine, with a qemu that only talks: when it boots again, when not, and what it says then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import until

from holdfast.errors import HoldfastError
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, tail
from holdfast.lab.vm import boot_files, console, machine, power, qemu
from holdfast.lab.vm import layout as vm
from holdfast.paths import ROOT

PANIC = "[   12.345678] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
# As Debian 13 wrote it, systemd's terminal sequences included.
UP = "[    7.620749] Run /init as init process\r\n\x1b[!p\x1b]104\x07[   11.964868] systemd[1]: systemd 257 running\r\n"
EARLY = ("SeaBIOS\r\nBooting from ROM..\r\n", "guest-reset")
# A qemu: each boot takes the next of `boots`, [what the console says, the reason of the end]; with "on" it stays on, a minute at
# most, so that a test that fails leaves none behind.
_QEMU = """\
#!{python} -IS
import json, os, signal, socket, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
open(words["-pidfile"], "w").write(str(os.getpid()))
server = socket.socket(socket.AF_UNIX)
server.bind(words["-qmp"].removeprefix("unix:").partition(",")[0])
server.listen()
peer = server.accept()[0]
(says, reason), *rest = json.load(open({boots!r})) or [["", "no boot is left"]]
if reason == "on":
    signal.alarm(60)
    signal.pause()
json.dump(rest, open({boots!r}, "w"))
open(words["-chardev"].partition("path=")[2].partition(",")[0], "a", newline="").write(says)
peer.recv(100)
if reason:
    peer.sendall(json.dumps({{"event": "SHUTDOWN", "data": {{"reason": reason}}}}).encode() + b"\\n")
peer.close()
os.unlink(words["-pidfile"])
"""


class Supply:
    """A lab's layout whose qemu says what `boots` tells it to."""

    def __init__(self, folder: Path) -> None:
        self.layout, self.boots = Layout("few"), folder / "boots"

    def goes(self, *boots: tuple[str, str]) -> None:
        self.boots.write_text(json.dumps(boots))

    def left(self) -> int:
        return len(json.loads(self.boots.read_text()))

    def run(self) -> str:
        return power.supply(self.layout, "kvm", 64)


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supply]:
    programs = {"ip": '#!/bin/sh\nshift 3\nexec "$@"\n', vm.QEMU: _QEMU.format(python=sys.executable, boots=f"{tmp_path}/boots")}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.setattr(vm, "control_socket", lambda layout: tmp_path / "q")
    monkeypatch.setattr(boot_files, "repair", lambda disk: None)
    monkeypatch.setattr(boot_files, "extract", lambda disk, folder: boot_files.BootFiles("7.0", Path("/k"), None))
    made = Supply(tmp_path)
    vm.folder(made.layout).mkdir(parents=True)
    made.layout.logs.mkdir()
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def test_a_reboot_boots_again_and_a_power_off_is_the_end(supply: Supply) -> None:
    supply.goes((UP, "guest-reset"), *[(UP, "guest-reset")] * power.EARLY_RESETS, (UP, "guest-shutdown"), (UP, "guest-reset"))
    assert supply.run() == "guest-shutdown"
    assert supply.left() == 1


def test_a_qemu_that_is_killed_is_off(supply: Supply) -> None:
    supply.goes((UP, ""), (UP, "guest-reset"))
    assert supply.run() == "" and supply.left() == 1


@pytest.mark.parametrize("before", ["", UP], ids=["before systemd is up", "later"])
def test_a_kernel_that_panics_is_not_booted_again(supply: Supply, before: str) -> None:
    supply.goes((UP, "guest-reset"), (before + PANIC, "guest-reset"), (UP, "guest-shutdown"))
    with pytest.raises(HoldfastError, match="Kernel panic - not syncing: VFS: Unable to mount root fs") as told:
        supply.run()
    assert supply.left() == 1, "the reboot before it was one"
    assert told.value.where == str(vm.serial_log(supply.layout)) and "./holdfast up --vm" in told.value.fix


def test_a_panic_of_an_earlier_life_is_none_of_this_boot(supply: Supply) -> None:
    vm.serial_log(supply.layout).write_text(PANIC)
    supply.goes((UP, "guest-reset"), (UP, "guest-shutdown"))
    assert supply.run() == "guest-shutdown"


def test_what_never_comes_up_is_not_booted_for_ever(supply: Supply) -> None:
    """A triple fault, as qemu says it: a reset, and no word of the kernel's."""
    supply.goes(*[EARLY] * 20)
    with pytest.raises(HoldfastError, match=r"3 times in a row it reset .* Booting from ROM") as told:
        supply.run()
    assert supply.left() == 20 - power.EARLY_RESETS and told.value.fix


def test_an_early_reset_now_and_then_is_forgiven(supply: Supply) -> None:
    supply.goes(*[EARLY, EARLY, (UP, "guest-reset")] * 3, (UP, "guest-shutdown"))
    assert supply.run() == "guest-shutdown"


def test_the_machines_log_ends_with_the_error_and_no_traceback(
    supply: Supply, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["power", "few", "--accelerator", "kvm"])
    supply.goes((PANIC, "guest-reset"))
    assert power.main() == 1
    said = capfd.readouterr()
    assert "Traceback" not in said.err and said.out.splitlines()[-1] == f"Fix: {power.AGAIN}"
    assert "error: the virtual machine is off, its kernel stopped: Kernel panic" in said.out
    ended = Process("machine", 2**22 + 1, 0)
    told = machine.telling(supply.layout, ended, HoldfastError("ended while it booted", fix="down"))
    assert "Kernel panic - not syncing: VFS" in told.message and told.fix == power.AGAIN, "what waits for the boot says it"


def test_where_the_supply_gave_no_reason_the_console_is_shown(supply: Supply) -> None:
    vm.serial_log(supply.layout).write_text("[    1.0] waiting for the disk\n")
    told = machine.telling(supply.layout, Process("machine", 2**22 + 1, 0), HoldfastError("does not answer", where="log"))
    assert "does not answer" in told.message and "waiting for the disk" in told.message and "Fix: ./holdfast up" in told.render()


def test_while_a_qemu_has_the_disk_nothing_touches_it(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    file = vm.pid_file(supply.layout)
    touched: list[Path] = []
    monkeypatch.setattr(boot_files, "repair", touched.append)
    file.write_text(f"{os.getpid()}\n")
    assert qemu.running(supply.layout) == 0, "another process that has its number by now"
    child = subprocess.Popen(["sh", "-c", "read never", str(file)], stdin=subprocess.PIPE)
    try:
        file.write_text(f"{child.pid}\n")
        until(lambda: qemu.running(supply.layout) == child.pid, "it never ran")
        with pytest.raises(HoldfastError, match=f"pid {child.pid}") as told:
            supply.run()
        assert f"kill -9 {child.pid}" in told.value.fix and not touched
    finally:
        child.kill()
        child.wait()
    assert qemu.running(supply.layout) == 0, "and a file that was left"


# In a process of its own, which can be killed.
_SUPPLY = """\
import sys
from pathlib import Path
from holdfast.lab.layout import Layout
from holdfast.lab.vm import boot_files, layout, power
layout.control_socket = lambda _: Path(sys.argv[1])
boot_files.repair = lambda disk: None
boot_files.extract = lambda disk, folder: boot_files.BootFiles("7.0", Path("/k"), None)
power.supply(Layout("few"), "kvm", 64)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_qemu_dies_with_its_supply(supply: Supply, tmp_path: Path, number: int) -> None:
    supply.goes(("", "on"))
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    child = subprocess.Popen([sys.executable, "-c", _SUPPLY, str(tmp_path / "q")], env=env)
    try:
        until(lambda: qemu.running(supply.layout), "qemu never ran")
    finally:
        child.send_signal(number)
        child.wait()
    until(lambda: not qemu.running(supply.layout), "qemu outlives its supply")


def test_what_the_console_tells() -> None:
    assert console.panic(PANIC + UP).startswith("Kernel panic - not syncing: VFS")
    assert console.panic(UP) == "" and console.panic("panic=-1 in the command line") == ""
    assert console.reached_user_space(UP) and not console.reached_user_space(PANIC)
    assert not console.reached_user_space("[    0.0] Command line: systemd.mask=x\n[    7.6] Run /init as init process\n")


def test_the_end_of_a_log_that_is_not_there() -> None:
    assert tail(Path("/nonexistent/log")) == "" and console.size(Path("/nonexistent/log")) == 0
    assert console.since(Path("/nonexistent/log"), 0) == ""
