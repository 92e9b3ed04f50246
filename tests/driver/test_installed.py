"""Debian 13's real driver packages, installed by a real apply, with the module really built for Debian's kernel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.driver import provisioned
from tests.driver.machine import REQUIRED, DriverMachine, states

from holdfast import depot
from holdfast.cli.depot import apt_sources
from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.module_reader import told_by_modinfo
from holdfast.components.nvidia.packages import Want, choose
from holdfast.components.nvidia.together import apt_set, driver_set
from holdfast.components.nvidia.updates import read_updates
from holdfast.versions import version_key

# Promises, as literals: what notes and documentation say that Debian 13 gets.
PACKAGES = ("linux-headers-amd64", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")
VERSION = r"550\.\d+(\.\d+)?"
WHY = r"needs_reboot: kernel \S+, which runs, has no module; 6\.12\.\d+\+deb13-amd64 has it; a container cannot reboot for it"


def test_the_first_apply_installed_it_and_did_not_reboot(record: dict[str, Any]) -> None:
    assert "NVIDIA | Install the NVIDIA driver" in record["changed"] and not record["rebooted"], record
    said = "\n".join(record["notes"])
    assert "install driver 550, proprietary modules, from the distribution" in said and re.search(WHY, said), said


def test_packages_and_module_are_really_there(machine: DriverMachine) -> None:
    assert set(states(machine, PACKAGES).values()) == {"ii"}
    assert machine.root("dpkg --audit") == ""
    kernel = machine.root("basename $(readlink -f /boot/vmlinuz-* | tail -n 1) | cut -d- -f2-").strip()
    assert re.fullmatch(r"6\.12\.\d+\+deb13-amd64", kernel)
    assert re.search(rf"nvidia-current/{VERSION}, {re.escape(kernel)}, x86_64: installed", machine.root("dkms status"))
    told = machine.root(f"modinfo -k {kernel} nvidia-current")
    assert re.search(rf"^version: +{VERSION}$", told, re.M) and re.search(rf"^vermagic: +{re.escape(kernel)} ", told, re.M)
    assert re.search(r"^license: +NVIDIA$", told, re.M) and re.search(r"^signer: +DKMS module signing key$", told, re.M)
    # What the component makes of it, and of the same module without its signature.
    assert told_by_modinfo(told)["signed"] is True and told_by_modinfo(told)["signer"] == "DKMS module signing key"
    cut = machine.root(
        f"set -e; xz -dc $(modinfo -k {kernel} -n nvidia-current) | head -c -28 > /root/cut.ko\n"
        "modinfo /root/cut.ko; rm /root/cut.ko"
    )
    found = told_by_modinfo(cut)
    assert re.fullmatch(VERSION, found["module"]) and (found["signed"], found["signer"]) == (False, "")
    there = machine.root(f"lsinitramfs /boot/initrd.img-{kernel} | grep -E 'modprobe.d/.*nvidia' || true")
    assert "nvidia" in there, "the initrd does not know that nouveau stays away"


def test_what_the_component_reads_is_what_is_there(machine: DriverMachine) -> None:
    found = machine.facts()
    assert [(g.address, g.device) for g in found.gpus] == [("0000:01:00.0", "0x2204"), ("0000:21:00.0", "0x2204")]
    assert (found.distribution, found.codename, found.container, found.broken_packages) == ("debian", "trixie", True, ())
    assert found.kernel == machine.ssh(["uname", "-r"]).stdout.strip() != found.next_kernel
    following = found.following
    assert following is not None and following.headers and following.initrd and following.current
    assert re.fullmatch(VERSION, found.library) and following.module == found.library and found.running.module == ""
    assert classify(found, {}, 550).state == "needs_reboot"


def test_a_second_apply_changes_nothing_and_says_why_it_does_not_reboot(machine: DriverMachine) -> None:
    before = machine.boot_id()
    planned = machine.plan()
    assert planned.result is not None and planned.result.pending == [], planned.result
    assert "reboot: needed and not done (a container has its host's kernel)" in planned.driver_notes
    told = machine.applied()
    assert told.changed == [] and re.search(WHY, told.driver_notes), told.driver_notes
    assert machine.boot_id() == before


def test_where_cards_are_required_it_fails_with_the_reason_and_the_way_out(machine: DriverMachine) -> None:
    before = machine.boot_id()
    told = machine.apply(**REQUIRED)
    assert told.error is not None and re.search(WHY, told.error.message), told
    assert "the machine that this one runs on" in told.error.fix
    assert machine.boot_id() == before


def test_the_real_nvidia_smi_without_a_device(machine: DriverMachine) -> None:
    """Its exit codes, and that the words come on stdout: what readers of its output must know."""

    def said(before: str = "", after: str = "") -> tuple[int, str, str]:
        done = machine.shell(f"{before}\nnvidia-smi --query-gpu=name --format=csv; status=$?\n{after}\nexit $status")
        return done.returncode, done.stdout, done.stderr

    # As the FAKE bus leaves it: /dev/nvidiactl is there, and no device behind it.
    status, out, err = said()
    assert (status, err) == (17, "") and "blocked by the operating system" in out
    status, out, err = said("mv /usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.5* /root/",
                            "mv /root/libnvidia-ml.so.5* /usr/lib/x86_64-linux-gnu/nvidia/current/")  # fmt: skip
    assert (status, err) == (12, "") and "couldn't find libnvidia-ml.so" in out
    status, out, err = said("umount -q /dev/nvidiactl; rm -f /dev/nvidiactl", "touch /dev/nvidiactl")
    assert (status, err) == (9, "") and "couldn't communicate with the NVIDIA driver" in out
    assert machine.shell("nvidia-smi -h").returncode == 0


def test_without_the_device_the_cards_are_the_hosts(machine: DriverMachine) -> None:
    """A container sees its host's whole bus; only a device file says that it was given the cards."""
    assert machine.facts().gpus
    machine.root("umount -q /dev/nvidiactl; rm -f /dev/nvidiactl")
    try:
        assert machine.facts().gpus == ()
    finally:
        machine.root("touch /dev/nvidiactl")


def test_updates_that_wait_are_seen_with_their_age(machine: DriverMachine) -> None:
    """An older version in dpkg's list makes an update of what the archive has; apt itself is asked."""
    before = read_updates_of(machine)
    machine.root(
        "set -e; cp -p /var/lib/dpkg/status /root/status; apt-mark hold libcuda1 >/dev/null\n"
        "sed -i '/^Package: libcuda1$/,/^$/s/^Version: .*/Version: 550.1-1/' /var/lib/dpkg/status\n"
        "touch -d '-42 days' /var/lib/dpkg/info/libcuda1:amd64.list"
    )
    try:
        waiting = read_updates_of(machine)
        assert set(waiting) == {*before, "libcuda1"} and waiting["libcuda1"]["held"] and waiting["libcuda1"]["days"] == 42.0
        assert re.match(VERSION, waiting["libcuda1"]["candidate"]) and waiting["libcuda1"]["installed"] == "550.1-1"
        assert machine.facts().held == ("libcuda1",)
    finally:
        machine.root("mv /root/status /var/lib/dpkg/status; apt-mark unhold libcuda1 >/dev/null")


def read_updates_of(machine: DriverMachine) -> dict[str, Any]:
    return {update["name"]: update for update in machine.read(read_updates)["waiting"]}


def test_the_set_for_a_depot_is_named_as_apt_takes_it(machine: DriverMachine) -> None:
    found = machine.facts()
    bundle = driver_set(found)
    assert bundle.kernel == found.next_kernel
    names = [f"{name}={version}" for name, version in bundle.packages.items()]
    kernel = {f"linux-image-{bundle.kernel}", f"linux-headers-{bundle.kernel}"}
    assert {name.partition("=")[0] for name in names} >= {*PACKAGES, *kernel}
    assert choose(found, Want()).packages == PACKAGES
    # Every one of them is in the archive in that very version, with a digest; one is fetched.
    told = machine.root(f"apt-get -q download --print-uris {' '.join(names)}", status=None)
    assert len(re.findall(r"^'http\S+' \S+_\S+\.deb \d+ SHA256:[0-9a-f]{64}$", told, re.M)) == len(names), told
    small = next(name for name in names if name.startswith("libnvidia-cfg1="))
    machine.root(f"cd $(mktemp -d) && apt-get -q download {small} 2>/dev/null && dpkg-deb -I *.deb >/dev/null && rm -r $PWD")


def test_a_depot_can_hold_the_set_and_it_resolves_without_a_network(
    machine: DriverMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really fetched from Debian's archive (300 MB, once), kept beside the tests' own trees and not in anybody's depot."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(provisioned.set_cache()))
    wanted = apt_set("driver-trixie", apt_sources())
    entry = depot.fetch_set(wanted)
    assert depot.verify()["driver-trixie"] == "" and re.match(VERSION, entry.version)
    found = machine.facts()
    # What this machine has been given is in it, as new or newer: the kernel that the module was built for with its headers.
    kernel = max(depot.aptset.kernels(entry), key=version_key)
    assert version_key(kernel) >= version_key(found.next_kernel)
    newest = f"linux-image-{kernel}"
    assert {*PACKAGES, newest, "linux-image-amd64", "dkms", "make", "libc6"} <= set(entry.parts)
    assert any(re.fullmatch(r"gcc-\d+", name) for name in entry.parts), "a compiler"
    for name, version in driver_set(found).packages.items():
        if name in entry.parts:
            newer = subprocess.run(["dpkg", "--compare-versions", entry.parts[name], "ge", version], check=False)
            assert newer.returncode == 0, (name, version)
    # A computer with nothing but this folder, its key, and no network.
    folder = depot.root() / wanted.folder
    source = f"deb [signed-by={folder}/keyring.gpg] file:{folder} trixie main\n"
    script = (
        "set -e; mkdir -p state/lists/partial cache/archives/partial none; touch status; unshare -n sh -c '"
        'o="-o Dir::State=$PWD/state -o Dir::State::status=$PWD/status -o Dir::Cache=$PWD/cache '
        "-o Dir::Etc::sourceparts=$PWD/none -o Dir::Etc::sourcelist=$PWD/list "
        '-o APT::Sandbox::User=root -o APT::Architecture=amd64"; '
        f"apt-get -q $o update; apt-get -q -s $o --no-install-recommends install {' '.join(wanted.packages)}'"
    )
    (tmp_path / "list").write_text(source)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert len(re.findall(r"^Inst ", done.stdout, re.M)) == len(entry.parts)
    # The same again downloads nothing and changes nothing.
    before = (folder / "dists/trixie/InRelease").stat().st_mtime_ns
    assert depot.fetch_set(wanted) == entry and (folder / "dists/trixie/InRelease").stat().st_mtime_ns == before
