"""NVIDIA cards, their driver, kernels and packages, as the bus, the files and apt show them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tests.fake.machine import Failed, Inode, Machine, Unit, hears, runs
from tests.fake.systemd import start, stop

from holdfast.components.nvidia.activity import read_activity
from holdfast.components.nvidia.files import PERSISTENCE
from holdfast.components.nvidia.power import read_limits
from holdfast.components.nvidia.reader import read_machine
from holdfast.components.nvidia.repository import keyring, read_sources
from holdfast.components.nvidia.sources import KEYRING, SOURCE

LEFT, RIGHT = "0000:01:00.0", "0000:21:00.0"
KERNEL, NEWER = "6.1.0-1-amd64", "6.1.0-2-amd64"
AVAILABLE = {("debian", "trixie"): "550.163.01", ("debian", "bookworm"): "580.95.05"}
DRIVER = re.compile(r"^(lib)?nvidia|^libcuda1$|^linux-(modules|headers)")


def insert(m: Machine, *addresses: str, driver: str = "570.133.07", device: str = "0x2204") -> Machine:
    """Put 3090s into the machine; ``driver``: installed by hand and loaded; "": none is (nouveau holds the cards)."""
    m.cards = dict.fromkeys(addresses, "nvidia" if driver else "nouveau")
    m.module = m.library = driver
    m.driver.device = device
    m.driver.kernels = {KERNEL: {"module": driver, "initrd": True, "current": True, "headers": False}}
    return m


def version(m: Machine) -> str:
    """Of the driver that apt has."""
    found = {name.split("-")[-2] for name in m.packages if re.match(r"nvidia-utils-\d+-server", name)}
    return (
        f"{max(found)}.126.20"
        if found
        else AVAILABLE.get((m.release["ID"], m.release["VERSION_CODENAME"]), "580.126.20")
    )


def newest(m: Machine) -> str:
    return max(m.driver.kernels)


# -- what the machine answers ----------------------------------------------------------------------------------------


@hears(r"^\s*for d in /sys/bus/pci/devices/\*; do", first=True)
def bus(m: Machine, found: re.Match[str], stdin: str) -> str:
    lines = [f"card {at} 0x030000 {driver}\ncard {at.removesuffix('0')}1 0x040300" for at, driver in m.cards.items()]
    return "\n".join([*lines, *(["control"] if m.module else []), "end"])


@runs(read_machine)
def machine(m: Machine, root: str) -> Any:
    packages = {
        name: {"version": text, "state": m.driver.states.get(name, "ii"), "vendor": SOURCE in m.disk and "nvidia" in name}
        for name, text in m.packages.items() if DRIVER.match(name) or name.startswith("linux-image-")
    }  # fmt: skip
    kernels = {k: {"bootable": True, **values} for k, values in m.driver.kernels.items()}
    return {
        "gpus": [{"address": at, "device": m.driver.device, "driver": driver} for at, driver in m.cards.items()],
        "container": m.driver.container, "release": m.release, "boot_id": f"boot-{m.driver.boots}",
        "nouveau": "nouveau" in m.cards.values(), "module": m.module, "open_module": True, "uvm": bool(m.module),
        "libraries": [m.library] if m.library else [], "kernel": m.driver.kernel, "kernels": kernels,
        "secure_boot": m.driver.secure_boot, "signatures_enforced": m.driver.secure_boot, "packages": packages,
        "broken_packages": [*m.driver.upgrading, *(n for n, state in m.driver.states.items() if state[1:] in "FUHWt")],
        "failures": m.driver.failures,
        "holders": [{"pid": 7, "name": name, "unit": unit} for name, unit in m.driver.holders],
        "passphrases": m.driver.passphrases, "stopped": (m.text("/run/holdfast/nvidia-stopped") or "").split(),
    }  # fmt: skip


@runs(read_activity)
def activity(m: Machine, root: str, pause_s: float, others: list[int]) -> list[str]:
    m.driver.busy_for -= 1
    return m.driver.busy if m.driver.busy_for >= 0 else []


@runs(read_sources)
def apt_sources(m: Machine, folder: str) -> Any:
    mirror = {
        "file": f"{folder}/sources.list.d/x.sources",
        "uris": "http://mirror.test/os",
        "components": "main",
        "signed_by": "",
    }
    return {"sources": [{**mirror, "suites": m.release["VERSION_CODENAME"]}]}


@runs(keyring)
def key(m: Machine, path: str, url: str, fingerprint: str) -> bool:
    if url:
        if m.driver.vendor_key != fingerprint:
            raise Failed(f"error: {url} is key {m.driver.vendor_key}, not {fingerprint}: nothing was changed")
        m.change(f"fetch {path}")
        m.write(path, fingerprint)
    return m.text(path) == fingerprint


@runs(read_limits)
def limits(m: Machine, query: str) -> Any:
    if not m.module or m.module != m.library:
        return {"cards": {}, "problem": "Failed to initialize NVML: Driver/library version mismatch"}
    return {"cards": {at: [m.driver.watts.get(at, 350.0), 100.0, 366.0, 350.0] for at in m.cards}, "problem": ""}


# -- what changes it -------------------------------------------------------------------------------------------------


def built(m: Machine) -> None:
    """DKMS, or the linked modules: for every kernel with what it needs; fails as it fails on a machine."""
    for kernel, values in list(m.driver.kernels.items()):
        prebuilt = any(name.startswith("linux-modules-nvidia") for name in m.packages)
        if not (prebuilt or (values["headers"] and any(name.endswith("-dkms") for name in m.packages))):
            continue
        if kernel in m.driver.unbuildable:
            name = next((n for n in m.packages if n.endswith("-dkms")), "nvidia-kernel-dkms")
            m.driver.states[name] = "iF"
            line, log = "nv-pci.c:237: error: too few", "/var/lib/dkms/x/build/make.log"
            failure = {"module": "nvidia-current", "version": m.library, "kernel": kernel, "line": line, "log": log}
            m.driver.failures = [failure]
            raise Failed(f"E: Sub-process /usr/bin/dpkg returned an error code (1)\nerror processing package {name}")
        m.driver.kernels[kernel] = {**values, "module": m.library}


@hears(r"apt-get .*update.*apt-get .*--allow-downgrades install (?P<names>[^\n}]*?); } 2>&1\)", first=True)
def install_driver(m: Machine, found: re.Match[str], stdin: str) -> None:
    words = found["names"].split()
    if any(state[1:] == "F" for state in m.driver.states.values()):
        raise Failed("E: Sub-process /usr/bin/dpkg returned an error code (1)")
    if SOURCE in m.disk and m.text(KEYRING) is None:
        raise Failed("E: The repository is not signed.")
    for word in words:
        m.change(f"apt {word}")
        if word.endswith("-"):
            m.packages.pop(word[:-1], None)
            continue
        m.packages[word] = "1.0"
        if word.startswith("linux-headers-"):
            m.driver.kernels = {
                k: {**v, "headers": v["headers"] or k in (newest(m), word[14:])} for k, v in m.driver.kernels.items()
            }
    m.library = version(m)
    for name in m.packages:
        if DRIVER.match(name):
            m.packages[name] = m.library
    if any("nvidia-persistenced" in name or "nvidia-utils" in name for name in m.packages):
        m.write(f"/lib/systemd/system/{PERSISTENCE}", "[Service]\nExecStart=/usr/bin/nvidia-persistenced --user nvpd\n")
        m.write("/usr/bin/nvidia-persistenced", "a program")
        m.write("/bin/sh", "a program")
    built(m)
    m.driver.kernels = {k: {**v, "current": True} for k, v in m.driver.kernels.items()}


@hears(r"dkms autoinstall -k (?P<kernel>[^;\s]+)", first=True)
def dkms(m: Machine, found: re.Match[str], stdin: str) -> None:
    m.change(f"dkms {found['kernel']}")
    built(m)


@hears(r"update-initramfs -c -k (?P<kernel>[^;\s]+)", first=True)
def initramfs(m: Machine, found: re.Match[str], stdin: str) -> None:
    m.change(f"initrd {found['kernel']}")
    m.driver.kernels[found["kernel"]] = {**m.driver.kernels[found["kernel"]], "initrd": True, "current": True}


@hears(
    r"(?P<purge>apt-get .* purge [^\n}]*?; } 2>&1.*)?dpkg --force-confdef --force-confold --configure -a"
    r"; status=\$\?; half=.*? --no-remove --fix-broken install && { .* --no-remove --reinstall install \$half; }; }; } 2>&1\)",
    first=True,
)
def repair(m: Machine, found: re.Match[str], stdin: str) -> None:
    purged = re.search(r" purge ([^;}]*);", found["purge"] or "")
    for name in purged[1].split() if purged else ():
        m.change(f"purge {name}")
        m.packages.pop(name, None)
        m.driver.states.pop(name, None)
        m.driver.failures = []
        m.driver.kernels = {k: v for k, v in m.driver.kernels.items() if name != f"linux-image-{k}"}
    m.change("dpkg --configure -a")
    m.driver.states = {name: state for name, state in m.driver.states.items() if state[1:] == "i"}
    built(m)
    m.driver.kernels = {k: {**v, "initrd": True} for k, v in m.driver.kernels.items()}


def loads(m: Machine) -> None:
    here = m.driver.kernels[m.driver.kernel]["module"]
    if not here or "nouveau" in m.cards.values() or m.driver.refuses:
        raise Failed("modprobe: ERROR: could not insert 'nvidia': No such device")
    m.change(f"load {here}")
    m.module = here
    m.cards = dict.fromkeys(m.cards, "nvidia")


@hears(
    r"^mkdir -p /run/holdfast; \{ cat /run/holdfast/nvidia-stopped .* echo (?P<units>[^;]*); systemctl list-units "
    r"(?P<rest>.*)modprobe nvidia-uvm",
    first=True,
)
def reload(m: Machine, found: re.Match[str], stdin: str) -> None:
    exchange = "rmmod" in found["rest"]
    kinds = ("ollama@", "nvidia-persistenced") if exchange else ("ollama@",)
    active = [name for name, unit in m.units.items() if unit.process and name.startswith(kinds)]
    known = (m.text("/run/holdfast/nvidia-stopped") or "").split()
    units = sorted({*known, *found["units"].split(), *active})
    m.change("note what is stopped")
    m.write("/run/holdfast/nvidia-stopped", "\n".join(units))
    for unit in units:
        m.change(f"stop {unit}")
        stop(m, unit)
    failed = "nvidia is in use" if exchange and m.driver.in_use else ""
    if not failed:
        if exchange:
            m.change("unload")
            m.module, m.driver.watts = "", {}
        try:
            loads(m)
        except Failed as error:
            failed = str(error)
    resume(m, found, stdin)
    if failed:
        raise Failed(failed)


@hears(r"^units=\$\(cat /run/holdfast/nvidia-stopped", first=True)
def resume(m: Machine, found: re.Match[str], stdin: str) -> None:
    for unit in (m.text("/run/holdfast/nvidia-stopped") or "").split():
        m.change(f"start {unit}")
        if unit in m.units:
            start(m, unit)
    m.remove("/run/holdfast/nvidia-stopped")


@hears(r"^cat /proc/sys/kernel/random/boot_id$", first=True)
def boot_id(m: Machine, found: re.Match[str], stdin: str) -> str:
    if m.driver.down > 0:
        m.driver.down -= 1
        raise Failed("no route")
    return f"boot-{m.driver.boots}"


@hears(r"^systemctl --no-block reboot$", first=True)
def reboots(m: Machine, found: re.Match[str], stdin: str) -> None:
    m.change("reboot")
    m.driver.boots += 1
    m.driver.down = 3
    m.driver.kernel = newest(m)
    for path in [p for p in m.disk if p.startswith("/run/")]:
        m.disk.pop(path, None)
    m.put("/run", Inode("directory"))
    for name in list(m.units):
        stop(m, name)
    now = m.driver.kernels[m.driver.kernel]
    nouveau = m.driver.stubborn or not now["current"]
    m.module = "" if nouveau or m.driver.refuses else now["module"]
    m.driver.watts = {}
    m.cards = dict.fromkeys(m.cards, "nvidia" if m.module else "nouveau" if nouveau else "")
    for name, unit in list(m.units.items()):
        if unit.enabled:
            start(m, name)
            if name == "holdfast-nvidia-power.service":
                caps(m)


def caps(m: Machine) -> None:
    text = m.text("/etc/systemd/system/holdfast-nvidia-power.service") or ""
    for at, watts in re.findall(r"-i (\S+) -pl (\d+)", text):
        if m.module and not m.driver.deaf:
            m.driver.watts[at] = float(watts)


@hears(r"^set -e; .*systemctl restart holdfast-nvidia-power\.service", first=True)
def power(m: Machine, found: re.Match[str], stdin: str) -> None:
    m.change("set power limits")
    caps(m)
    m.units["holdfast-nvidia-power.service"] = replace(
        m.units.get("holdfast-nvidia-power.service", Unit()), enabled=True, state="active"
    )
