"""The reader: what it takes from files and what it makes of them."""

from __future__ import annotations

import builtins
import dis
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from tests.unit.nvidia.trees import (
    CARDS,
    ENROLLED,
    KEY,
    NEW,
    OLD,
    OWN_KEY,
    READY,
    Files,
    V,
    boot,
    debian,
    dpkg,
    headers,
    library,
    loaded,
    make_log,
    module,
    package,
    read,
    ubuntu,
)

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.facts import NvidiaState, read_machine
from holdfast.components.nvidia.machine import Failure, Machine, parse
from holdfast.components.nvidia.updates import Updates
from holdfast.operations.remote import PythonFact
from holdfast.versions import version_key


def test_a_container_has_the_cards_that_it_was_given_and_not_its_hosts(tmp_path: Path) -> None:
    host = {**CARDS, **library(V), **loaded(V)}
    inside: Files = {"run/systemd/container": "systemd-nspawn"}
    assert len(read(tmp_path / "host", host).gpus) == 2
    finding = classify(read(tmp_path / "inside", {**host, **inside}), {}, 550)
    assert (finding.state, finding.words) == ("no_gpu", "no NVIDIA GPU")
    assert len(read(tmp_path / "given", {**host, **inside, "dev/nvidiactl": ""}).gpus) == 2


def test_what_is_no_number_is_not_known(tmp_path: Path) -> None:
    users = "sys/module/nvidia_drm/refcnt"
    odd = read(tmp_path / "odd", {**READY, users: "abc", "boot.free_mib": "lots"})
    assert (odd.drm_users, odd.boot_free_mib) == (0, None)
    known = read(tmp_path / "known", {**READY, users: "3\n", "boot.free_mib": "12"})
    assert (known.drm_users, known.boot_free_mib) == (3, 12)


def test_everything_that_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            **READY,
            **boot("6.12.9-amd64"),
            **boot(NEW, initrd=False),
            **headers(OLD),
            **OWN_KEY,
            **debian(),
            **make_log(NEW),
            ENROLLED: b"\7\0\0\0" + KEY,
            "boot/vmlinuz-9.9.9-amd64.old": "x",
            "proc/sys/kernel/random/boot_id": "b\n",
            "run/holdfast/nvidia-stopped": "ollama@coder.service\n",
            "etc/crypttab": "# c\nroot UUID=1 none luks\nswap /dev/x /dev/urandom swap\ntpm UUID=2 none luks,tpm2-device=auto\n",
            **dpkg(
                package("nvidia-kernel-dkms", f"{V}-2", "hold ok installed"),
                package("bash"),
                package("nvidia-driver-cuda", "580.95.05-1", maintainer="cudatools <cudatools@nvidia.com>"),
                package("libc6", status="install ok half-configured"),
                package("nvidia-smi", status="deinstall ok config-files"),
            ),
        },
    )
    assert [(g.address, g.device) for g in found.gpus] == [("0000:01:00.0", "0x2204"), ("0000:02:00.0", "0x2204")]
    assert (found.distribution, found.codename, found.boot_id) == ("debian", "trixie", "b")
    assert (found.module, found.libraries, found.open_module, found.uvm) == (V, (V,), False, True)
    # The newest kernel by version, not by spelling; and a failed DKMS build leaves one without an initrd.
    assert (found.kernel, found.next_kernel, found.target.initrd) == (OLD, NEW, False)
    assert (found.running.module, found.running.headers, found.target.module, found.target.headers) == (
        V,
        True,
        "",
        False,
    )
    assert set(found.kernels) == {"6.12.9-amd64", OLD, NEW}
    assert found.failures == (
        Failure("nvidia-current", V, NEW, "nvidia/nv-pci.c:237:5: error: too few arguments to function",
                f"/var/lib/dkms/nvidia-current/{V}/build/make.log"),
    )  # fmt: skip
    assert (found.key.file, found.key.enrolled, found.key.pending) == ("/var/lib/dkms/mok.pub", True, False)
    assert found.passphrases == ("root",)
    assert found.stopped == ("ollama@coder.service",)
    states = {name: (p.state, p.vendor) for name, p in found.packages.items()}
    assert states == {"nvidia-kernel-dkms": ("hi", False), "nvidia-driver-cuda": ("ii", True), "libc6": ("iF", False)}
    assert (found.broken_packages, found.held) == (("libc6",), ("nvidia-kernel-dkms",))


def encrypted(disk: str, name: str, uuid: str = "CRYPT-LUKS2-1234-root", *, on: str = "") -> Files:
    """A device mapper's disk as sysfs shows it; ``on``: the disk that it lies on."""
    at = f"sys/class/block/{disk}"
    return {f"{at}/dm/name": f"{name}\n", f"{at}/dm/uuid": f"{uuid}\n", **({f"{at}/slaves/{on}/x": ""} if on else {})}


def test_disks_that_ask_for_a_passphrase_at_boot(tmp_path: Path) -> None:
    plain: Files = {"proc/mounts": "proc /proc proc rw 0 0\n/dev/sda2 / ext4 rw 0 0\n", "sys/class/block/sda2/size": "9\n"}
    assert read(tmp_path / "plain", {**READY, **plain, **encrypted("dm-0", "backup")}).passphrases == ()
    mounted: Files = {"proc/mounts": "/dev/mapper/root / btrfs rw 0 0\n"}
    # Opened by a hand-made initrd, so that no crypttab tells of it.
    assert read(tmp_path / "bare", {**READY, **mounted, **encrypted("dm-0", "root")}).passphrases == ("root",)
    volume: Files = {
        "proc/mounts": "/dev/mapper/vg-root / ext4 rw 0 0\n", **encrypted("dm-1", "vg-root", "LVM-abc", on="dm-0"),
        **encrypted("dm-0", "sda3_crypt", on="sda3"),
    }  # fmt: skip
    assert read(tmp_path / "volume", {**READY, **volume}).passphrases == ("sda3_crypt",)
    opens: Files = {"etc/crypttab": "sda3_crypt UUID=2 none luks,discard,tpm2-device=auto\n"}
    assert read(tmp_path / "tpm", {**READY, **volume, **opens}).passphrases == ()
    by_file: Files = {"etc/crypttab": "sda3_crypt UUID=2 /etc/keys/root.key luks\n"}
    assert read(tmp_path / "file", {**READY, **volume, **by_file}).passphrases == ()
    asks: Files = {"etc/crypttab": "sda3_crypt UUID=2 none luks,discard\n"}
    found = read(tmp_path / "asks", {**READY, **volume, **asks})
    assert found.passphrases == ("sda3_crypt",)
    assert any("sda3_crypt asks for a passphrase at boot" in note for note in classify(found, {}, 550).notes)


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("none luks", True),
        ("none luks,tpm2-device=auto", False),
        # A person's PIN, touch or card; a script that asks, with a name in the key's place.
        ("none luks,tpm2-device=auto,tpm2-pin=yes", True),
        ("none luks,fido2-device=auto", True),
        ("none luks,pkcs11-uri=auto", True),
        ("cryptdisks luks,initramfs,keyscript=decrypt_keyctl", True),
        ("/etc/keys/root.gpg luks,keyscript=/lib/cryptsetup/scripts/decrypt_gnupg", True),
        ("other_crypt luks,keyscript=/lib/cryptsetup/scripts/decrypt_derived", False),
        ("none luks,noauto", False),
        ("", True),
    ],
)
def test_which_line_of_crypttab_asks_a_person(tmp_path: Path, line: str, asks: bool) -> None:
    found = read(tmp_path, {**READY, "etc/crypttab": f"disk UUID=1 {line}\n"})
    assert found.passphrases == (("disk",) if asks else ())


def test_what_asks_before_crypttab_is_read(tmp_path: Path) -> None:
    """GRUB opens an encrypted /boot by a passphrase alone; Ubuntu's ZFS has its key on a disk of its own."""
    disk = {**encrypted("dm-0", "cryptroot"), "etc/crypttab": "cryptroot UUID=2 /etc/keys/root.key luks\n"}
    root: Files = {"proc/mounts": "/dev/mapper/cryptroot / ext4 rw 0 0\n"}
    grub: Files = {"etc/default/grub.d/local.cfg": "GRUB_ENABLE_CRYPTODISK=y\n"}
    assert read(tmp_path / "key", {**READY, **disk, **root}).passphrases == ()
    assert read(tmp_path / "grub", {**READY, **disk, **root, **grub}).passphrases == ("cryptroot",)
    apart: Files = {"proc/mounts": "/dev/mapper/cryptroot / ext4 rw 0 0\n/dev/sda2 /boot ext4 rw 0 0\n"}
    assert read(tmp_path / "apart", {**READY, **disk, **apart, **grub, "sys/class/block/sda2/x": ""}).passphrases == ()
    zfs: Files = {"proc/mounts": "rpool/ROOT/ubuntu_1 / zfs rw 0 0\n", **encrypted("dm-0", "keystore-rpool")}
    assert read(tmp_path / "zfs", {**READY, **zfs}).passphrases == ("keystore-rpool",)


def test_a_derivative_is_what_it_derives_from(tmp_path: Path) -> None:
    mint: Files = {"etc/os-release": "ID=linuxmint\nVERSION_CODENAME=zara\nUBUNTU_CODENAME=noble\n"}
    assert (read(tmp_path, mint).distribution, read(tmp_path, mint).codename) == ("ubuntu", "noble")
    assert read(tmp_path / "u", ubuntu("jammy")).codename == "jammy"


def test_where_a_module_and_its_version_are_found(tmp_path: Path) -> None:
    name = f"lib/modules/{OLD}/updates/dkms/nvidia.ko.zst"
    by_dkms = {f"var/lib/dkms/nvidia/kernel-{OLD}-x86_64": f"580.95.05/{OLD}/x86_64"}
    assert read(tmp_path / "dkms", {**CARDS, name: "x"}, links=by_dkms).running.module == "580.95.05"
    assert read(tmp_path / "neither", {**CARDS, name: "x"}).running.module == "unknown"
    both = {**module(OLD, "1.1.1", "kernel/nvidia-580/nvidia.ko"), **module(OLD, "2.2.2", "updates/dkms/nvidia.ko")}
    assert read(tmp_path / "both", {**CARDS, **both}).running.module == "2.2.2"
    absolute = {f"lib/modules/{OLD}/build": f"/usr/src/other-{OLD}"}
    built = read(tmp_path / "link", {**CARDS, f"usr/src/other-{OLD}/Makefile": "x"}, links=absolute)
    assert built.running.headers


def test_an_initrd_older_than_the_blacklist(tmp_path: Path) -> None:
    read(tmp_path, {**READY, "etc/modprobe.d/holdfast-nvidia.conf": "blacklist nouveau"})
    os.utime(tmp_path / "etc/modprobe.d/holdfast-nvidia.conf", (5, 5))
    assert parse(read_machine(str(tmp_path))).running.current
    os.utime(tmp_path / f"boot/initrd.img-{OLD}", (1, 1))
    assert not parse(read_machine(str(tmp_path))).running.current


def test_an_empty_machine(tmp_path: Path) -> None:
    found = read(tmp_path, {})
    assert (found.kernel, found.next_kernel, found.gpus) == (OLD, "", ())
    assert classify(found, {}, 550).state == "no_gpu" and classify(Machine(), {}, 550).state == "no_gpu"


def test_it_runs_as_it_runs_on_a_host(tmp_path: Path) -> None:
    read(tmp_path, READY)
    source = NvidiaState.source(root=str(tmp_path))
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, capture_output=True, text=True)
    assert not done.stderr
    found = parse(NvidiaState().process(done.stdout.splitlines()))
    assert len(found.gpus) == 2 and found.module == V


@pytest.mark.parametrize("fact", [NvidiaState, Updates])
def test_all_that_a_reader_calls_travels_with_it(fact: type[PythonFact]) -> None:
    """A name of this project's that was left behind would fail on the machine alone, in a state that no test has."""
    source = fact.source(root="/")
    program = compile(source, "program", "exec")
    there = {*dir(builtins), *(name for name in program.co_names if f"def {name}(" in source)}

    def asked(code: types.CodeType) -> set[str]:
        own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
        return own.union(*(asked(c) for c in code.co_consts if isinstance(c, types.CodeType)))

    functions = [c for c in program.co_consts if isinstance(c, types.CodeType)]
    assert functions and set().union(*map(asked, functions)) <= there
    left = compile(source.replace("def beginnings(", "def others("), "program", "exec")
    assert "beginnings" in set().union(*(asked(c) for c in left.co_consts if isinstance(c, types.CodeType)))
    assert "beginnings" not in left.co_names, "the control: it would be missed"


def test_this_very_computer_can_be_read() -> None:
    assert classify(parse(read_machine("/")), {}, 550).words


def test_versions_sort_by_number() -> None:
    assert sorted(["6.12.107", "6.12.9", "6.2.1"], key=version_key) == ["6.2.1", "6.12.9", "6.12.107"]
    assert sorted(["6.13-amd64", "6.13~rc7-amd64", "6.12.9-amd64"], key=version_key)[-1] == "6.13-amd64"
