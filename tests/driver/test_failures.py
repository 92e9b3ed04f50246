"""What goes wrong with a driver that is built on the machine: really provoked, and what an apply makes of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.driver import provisioned
from tests.driver.machine import REQUIRED, DriverMachine, states

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.packages import Want
from holdfast.versions import version_key

OPEN, OWN = "nvidia-open-kernel-dkms", "nvidia-kernel-dkms"
# Holds apt's lock as apt does (fcntl), says so, and lets it go at the end of its stdin.
HOLD = (
    "import fcntl,sys; f=open('/var/lib/dpkg/lock-frontend','r+b'); fcntl.lockf(f,fcntl.LOCK_EX);"
    "print('held',flush=True); sys.stdin.read()"
)
# A compiler that is there and does not work: the cheapest build that really fails.
NO_COMPILER = "cd /usr/bin && mv x86_64-linux-gnu-gcc-14 /root/gcc && cp false x86_64-linux-gnu-gcc-14"
COMPILER = "mv /root/gcc /usr/bin/x86_64-linux-gnu-gcc-14"


@pytest.fixture(autouse=True)
def as_it_was(machine: DriverMachine) -> Iterator[None]:
    """Every test ends where the machine was: whole, with nothing for an apply to do. (One follows in test_installed.)"""
    before = machine.facts()
    yield
    assert machine.root("dpkg --audit") == ""
    after = machine.facts()
    assert classify(after, {}, 550).state == "needs_reboot" and to_install(after, Want(), ()) is None
    assert after.libraries == before.libraries and version_key(after.next_kernel) >= version_key(before.next_kernel)


def apt_works(machine: DriverMachine) -> bool:
    """Whether somebody else's package can be installed; a local one, so that nothing is downloaded."""
    done = machine.shell(
        "set -e; d=$(mktemp -d); mkdir -p $d/x/DEBIAN; printf 'Package: holdfast-test-apt\\nVersion: 1\\nArchitecture: all\\n"
        "Maintainer: test <test@localhost>\\nDescription: test\\n' > $d/x/DEBIAN/control; chmod -R a+rX $d\n"
        "dpkg-deb --root-owner-group -b $d/x $d/x.deb >/dev/null; status=0\n"
        "apt-get -q -y install $d/x.deb >$d/said 2>&1 || status=$?; dpkg --purge holdfast-test-apt >/dev/null 2>&1; exit $status"
    )
    return done.returncode == 0


def test_the_real_failure_of_the_open_module_blocks_apt_and_an_apply_mends_it(machine: DriverMachine, base: Path) -> None:
    """A person's `apt install nvidia-open-kernel-dkms`: it does not build on Debian 13's own kernel. The failure is real and
    made once, with the tree (provisioned.lay_open_failure); here its files are laid over the machine."""
    assert apt_works(machine)
    provisioned.lay_open_failure(machine)
    assert states(machine, [OPEN, OWN]) == {OPEN: "iF", OWN: "ii"}
    # Every apt command tries the build again; without a compiler it fails in seconds in place of minutes.
    machine.root(NO_COMPILER)
    try:
        assert not apt_works(machine)
    finally:
        machine.root(COMPILER)
    provisioned.lay_open_failure(machine)
    found = classify(machine.facts(), {}, 550)
    kernel = machine.facts().next_kernel
    assert found.state == "broken_packages" and OPEN in found.reason
    assert f"does not build for kernel {kernel}: nvidia/nv-pci.c:237" in found.reason and "too few arguments" in found.reason
    told = machine.applied()
    assert told.driver_changed == ["NVIDIA | Install the NVIDIA driver"]
    assert f"repair: {OPEN} cannot be set up: taken out again" in told.driver_notes
    assert states(machine, [OPEN, OWN]) == {OPEN: "", OWN: "ii"} and apt_works(machine)
    # The log went with its package, and is kept.
    kept = machine.root("cat /var/log/holdfast-nvidia-*.log; rm /var/log/holdfast-nvidia-*.log")
    assert "pci_resize_resource" in kept


def test_a_build_that_fails_in_an_apply_is_taken_out_and_told(machine: DriverMachine) -> None:
    """The settings ask for open modules, and nothing can be built (no compiler works)."""
    machine.root(NO_COMPILER)
    try:
        told = machine.apply(nvidia__modules="open", **REQUIRED)
    finally:
        machine.root(COMPILER)
    kernel = machine.facts().next_kernel
    assert told.error is not None and "broken_packages" in told.error.message, told
    assert f"nvidia-current-open {machine.facts().library} does not build for kernel {kernel}: " in told.error.message
    assert f"Taken out again: {OPEN}; apt works" in told.error.message
    assert "set nvidia.modules: auto" in told.error.fix and "/var/log/holdfast-nvidia-" in told.error.fix
    assert states(machine, [OPEN]) == {OPEN: ""} and apt_works(machine)
    assert machine.facts().following is not None and machine.facts().following.initrd  # type: ignore[union-attr]
    machine.root("rm /var/log/holdfast-nvidia-*.log")


def test_missing_headers_are_told_and_installed_and_the_module_comes_with_them(machine: DriverMachine) -> None:
    """apt ends well without them, and there is no module: the failure that says nothing."""
    kernel, version = machine.facts().next_kernel, machine.facts().library
    # What DKMS has built is kept, so that no minutes are spent on building the same again.
    machine.root(
        f"set -e; dkms uninstall nvidia-current/{version} -k {kernel}\n"
        f"apt-get -q -y purge linux-headers-amd64 linux-headers-{kernel} linux-headers-{kernel.rpartition('-')[0]}-common"
    )
    found = classify(machine.facts(), {}, 550)
    assert found.state == "needs_headers" and kernel in found.reason and f"linux-headers-{kernel}" in found.fix
    assert machine.root("dpkg --audit") == "" and apt_works(machine)
    told = machine.applied()
    assert told.driver_changed == ["NVIDIA | Install the NVIDIA driver"] and "linux-headers-amd64" in told.driver_notes
    # A newer kernel, where the archive has one by now, comes with its headers.
    assert re.search(rf"{re.escape(machine.facts().next_kernel)}, x86_64: installed", machine.root("dkms status"))


def test_an_interrupted_dpkg_is_repaired_once_another_apt_has_let_go(machine: DriverMachine) -> None:
    """Half-installed while somebody holds the lock is work in progress; after that it is damage."""
    machine.root("set -e; cd /var/cache/apt/archives; dpkg --unpack nvidia-smi_*.deb")
    assert states(machine, ["nvidia-smi"]) == {"nvidia-smi": "iU"} and machine.facts().broken_packages != ()
    argv = ["ssh", "-F", str(machine.layout.ssh_config), "-o", "ControlPath=none", machine.name]
    holder = subprocess.Popen(
        [*argv, "sudo", "python3", "-I", "-c", f'"{HOLD}"'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdin is not None and holder.stdout is not None and holder.stdout.readline() == "held\n"
        given = holder.stdin
        told = machine.applied(heard=lambda event: given.close() if "held by" in str(event.get("what")) else None)
    finally:
        if holder.stdin is not None:
            holder.stdin.close()
        holder.wait(60)
    assert any("apt, held by python3" in what for what in told.waited), told.waited
    assert told.driver_changed == ["NVIDIA | Install the NVIDIA driver"]
    assert "half-installed packages: nvidia-smi" in told.driver_notes
    assert states(machine, ["nvidia-smi"]) == {"nvidia-smi": "ii"}


# As a power cut ends dpkg in the middle of a driver: one package is unpacked, the next one while it is being unpacked (dpkg-deb,
# which dpkg asks for the files then, kills it), and what it depends on was not unpacked yet.
CUT = r"""set -e; d=$(mktemp -d)
printf '#!/bin/sh\ncase "$*" in *--fsys-tarfile*) kill -9 $PPID; exit 1;; esac\nexec /usr/bin/dpkg-deb "$@"\n' >$d/dpkg-deb
chmod +x $d/dpkg-deb; cd /var/cache/apt/archives
dpkg --no-triggers --force-depends --purge libnvidia-ml1
dpkg --no-triggers --unpack libcuda1_*.deb
status=0; PATH=$d:$PATH dpkg --unpack nvidia-smi_*.deb || status=$?
rm -r $d; [ $status = 137 ]
"""


def test_a_driver_that_was_cut_off_while_it_was_unpacked_is_made_whole(machine: DriverMachine) -> None:
    names = ["libcuda1", "libnvidia-ml1", "nvidia-smi"]
    machine.root(CUT)
    # dpkg's list does not say it yet, and apt refuses everything.
    assert "nvidia-smi\nStatus: install ok installed" in machine.root("cat /var/lib/dpkg/status")
    assert "dpkg was interrupted" in machine.root("apt-get -q check 2>&1", status=100)
    found = machine.facts()
    assert {"libcuda1", "nvidia-smi"} <= {*found.broken_packages} and found.packages["nvidia-smi"].state == "iH"
    assert states(machine, names) == {"libcuda1": "iU", "libnvidia-ml1": "un", "nvidia-smi": "iHR"}
    told = machine.applied()
    assert told.driver_changed == ["NVIDIA | Install the NVIDIA driver"]
    assert "half-installed packages: " in told.driver_notes and "nvidia-smi" in told.driver_notes
    assert set(states(machine, names).values()) == {"ii"} and apt_works(machine)
