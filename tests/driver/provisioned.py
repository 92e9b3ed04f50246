"""The Debian 13 tree that an apply has provisioned: real packages, the module really built. Made once, kept as base trees are.

`tree()` gives its path; whoever boots it (the tests of this folder in systemd-nspawn, a virtual machine) works on a copy.
The key of the cache is the base tree's and everything that an apply would install and write there: what does the same takes the
tree that is there, whatever else has changed. Kernel and driver are the newest of the archive, so that it is new after DAYS; what
the first apply told stands beside it (`record`). $HOLDFAST_FRESH=1 makes it anew in any case.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.driver.hardware import CARDS, FUNCTIONS
from tests.driver.machine import PAGE, DriverMachine

from holdfast.components.nvidia import commands, files, sources
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Gpu, Kernel, Machine
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Install
from holdfast.lab import cleanup, processes
from holdfast.lab import tree as trees
from holdfast.paths import ROOT, cache_dir, state_dir
from holdfast.proc import run
from holdfast.progress import QUIET, Progress

OPEN = "nvidia-open-kernel-dkms"
NAME = os.environ.get("HOLDFAST_TEST_DRIVER_LAB", "driver")
DAYS = 7  # then the archive has moved on
RECIPE = 1  # raise it when what is kept of the tree changes
# Of apt's archive: what the tests install again.
_KEPT = ("linux-headers-", "linux-kbuild-", "nvidia-smi_", "libcuda1_", "nvidia-open-kernel-")


def _path() -> Path:
    key = f"{RECIPE} {OPEN} {trees.cached('trixie').name} {(ROOT / PAGE).read_text()} {decides()}"
    return trees.trees_dir() / f"driver-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def decides() -> str:
    """What an apply installs and writes on this machine: the command, and every file of the component."""
    bare = Machine(
        gpus=tuple(Gpu(at, FUNCTIONS["0"][1]) for at in CARDS), distribution="debian", codename="trixie", kernel="6.12.1-amd64",
        kernels={"6.12.1-amd64": Kernel("6.12.1-amd64")}, next_kernel="6.12.1-amd64",
    )  # fmt: skip
    step = to_install(bare, Want(), ())
    assert isinstance(step, Install), step
    mirror = {"file": "/etc/apt/sources.list", "uris": "http://m", "suites": "trixie", "components": "main", "signed_by": ""}
    written = [*files.settings("managed"), *files.awake(False), *sources.files({"sources": [mirror]}, bare, step.choice)]
    return "\n".join([commands.line(step), *map(repr, written)])


@contextmanager
def _alone() -> Iterator[None]:
    """One maker at a time: another rung's waits, and takes what this one has made."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "driver-tree.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def tree(progress: Progress = QUIET) -> Path:
    """The provisioned tree; made where it is missing (about five minutes on two processors, 300 MB of download)."""
    wanted = _path()
    with _alone():
        if os.environ.pop("HOLDFAST_FRESH", "") == "1":
            _record(wanted).unlink(missing_ok=True)
        if not (wanted.is_dir() and _failure(wanted).is_file() and _age_days(_record(wanted)) < DAYS):
            _make(wanted, progress)
    return wanted


def _age_days(record: Path) -> float:
    return (time.time() - record.stat().st_mtime) / 86400 if record.is_file() else DAYS


def record() -> dict[str, Any]:
    """What the apply that made the tree told: when, seconds, what it changed, its notes, the machine's boots."""
    found: dict[str, Any] = json.loads(_record(_path()).read_text())
    return found


def _make(wanted: Path, progress: Progress) -> None:
    machine = DriverMachine(NAME, state_dir() / "logs")
    machine.down()
    machine.up(progress)
    try:
        before = machine.boot_id()
        told = machine.apply()
        assert told.error is None, told.error.render()
        found = {
            "made": time.strftime("%Y-%m-%d %H:%M"), "seconds": round(told.seconds, 1), "changed": told.changed,
            "notes": told.notes, "rebooted": machine.boot_id() != before,
        }  # fmt: skip
        _fail_open(machine, wanted)
        _hand_on(machine.layout.tree / "var/cache/apt/archives")
        keep = " ".join(f"! -name '{name}*'" for name in _KEPT)
        machine.root(f"find /var/cache/apt/archives -name '*.deb' {keep} -delete")
        process = machine.state().process("machine")
        machine.shell("systemctl --no-block poweroff")  # the connection may end before the command does
        processes.wait_until("the machine does not end", lambda: not processes.alive(process), seconds=300)  # type: ignore[arg-type]
        with cleanup.lock():
            for old in set(trees.trees_dir().glob("driver-*")) - {_failure(wanted)}:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            shutil.rmtree(wanted, ignore_errors=True)
            _move(machine.layout.tree, wanted)
            _record(wanted).write_text(json.dumps(found, indent=1) + "\n")
    finally:
        machine.down()


def set_cache() -> Path:
    """Where the tests keep the set that a depot holds (test_installed): as $XDG_CACHE_HOME."""
    return cache_dir() / "driver-set"


def _hand_on(archives: Path) -> None:
    """What apt has downloaded is not downloaded again for that set; a fetch compares it with the archive's hashes."""
    pool = set_cache() / "holdfast/depot/apt/driver-trixie/pool"
    pool.mkdir(parents=True, exist_ok=True)
    for deb in archives.glob("*.deb"):
        if not (pool / deb.name).exists():
            shutil.copyfile(deb, pool / deb.name)


def _failure(path: Path) -> Path:
    return path.with_name(f"{path.name}.open.tar.gz")


def _fail_open(machine: DriverMachine, wanted: Path) -> None:
    """Install Debian's open module, whose build fails; keep every file that this left, and take it out again."""
    machine.root("touch /root/before; sleep 1")
    said = machine.root(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install {OPEN} 2>&1", status=100)
    assert "Bad return status for module build" in said, said[-2000:]
    machine.root(
        "cd / && find var/lib usr etc -xdev \\( -type f -o -type l \\) -cnewer /root/before ! -path '*/build/*' -print0 "
        ">/root/left; find var/lib/dkms/*/*/build -maxdepth 1 -name make.log -print0 >>/root/left; "
        "tar -czf /root/open.tar.gz --null --no-recursion -T /root/left; chmod 644 /root/open.tar.gz"
    )
    wanted.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(machine.layout.tree / "root/open.tar.gz", _failure(wanted))
    machine.root(f"apt-get -q -y purge {OPEN} nvidia-open-kernel-support; rm /root/open.tar.gz /root/left /root/before")


def lay_open_failure(machine: DriverMachine) -> None:
    """The machine as it is after `apt install nvidia-open-kernel-dkms` has failed on it."""
    shutil.copy(_failure(_path()), machine.layout.tree / "root/open.tar.gz")
    machine.root("tar -xzf /root/open.tar.gz -C / && rm /root/open.tar.gz")


def _move(tree: Path, wanted: Path) -> None:
    try:
        tree.rename(wanted)
    except OSError:  # another file system
        making = wanted.with_name(f".making-{wanted.name}")
        run(["cp", "-a", tree, making])
        making.rename(wanted)
