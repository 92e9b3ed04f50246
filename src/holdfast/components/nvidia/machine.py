"""What was read of a machine's cards, driver, kernels and packages, as one immutable value. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.components.nvidia.boot import KNOWN, Boot, boots
from holdfast.components.nvidia.cards import Card, card
from holdfast.components.nvidia.names import DKMS, DRIVER, NEEDED
from holdfast.operations.distribution import distribution
from holdfast.versions import version_key


@dataclass(frozen=True)
class Gpu:
    """One card: its PCI address (``0000:01:00.0``), device id (``0x2204``), and the driver that holds it ("" for none).

    ``power``: its power state (D0, D3cold); ``answers``: False for one that has fallen off the bus; ``bound``: whether the
    loaded NVIDIA module has taken it, None where that is not known.
    """

    address: str
    device: str
    driver: str = ""
    power: str = ""
    answers: bool = True
    bound: bool | None = None

    @property
    def card(self) -> Card:
        return card(self.device)

    def __str__(self) -> str:
        return f"{self.card.name} at {self.address}"


@dataclass(frozen=True)
class Kernel:
    """One kernel that can boot, or runs: what the driver needs of it."""

    release: str
    bootable: bool = True
    """Its image is in /boot."""
    initrd: bool = False
    current: bool = True
    """The initrd is not older than the file that keeps nouveau away."""
    headers: bool = False
    module: str = ""
    """Version of the NVIDIA module on disk for it; "" for none."""
    signer: str = ""
    signed: bool | None = None
    """Whether that module has a signature at all; None where that was not read."""
    built: bool = False
    """On this machine, by DKMS: another one than the distribution's packages bring."""
    hidden: str = ""
    """Version of another module of that name, which this one hides: DKMS's come before a package's."""


@dataclass(frozen=True)
class Package:
    """``state``: the two letters of `dpkg -l` (ii installed, hi held, iF half-configured). ``vendor``: built by NVIDIA."""

    name: str
    version: str
    state: str = "ii"
    vendor: bool = False

    @property
    def installed(self) -> bool:
        return self.state[1:] == "i"


@dataclass(frozen=True)
class Holder:
    """A process that has the device open; ``unit``: the system service it belongs to ("" for a person's process)."""

    pid: int
    name: str
    unit: str = ""

    def __str__(self) -> str:
        return self.unit or f"{self.name} (pid {self.pid})"


@dataclass(frozen=True)
class Failure:
    """A DKMS build that failed: which module version for which kernel, and the log's telling line."""

    module: str
    version: str
    kernel: str
    line: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.module} {self.version} does not build: {self.line}"


@dataclass(frozen=True)
class Key:
    """The key that DKMS signs with: its certificate, whether the firmware's list has it, or will ask for it at boot."""

    file: str = ""
    enrolled: bool = False
    pending: bool = False


@dataclass(frozen=True)
class Machine:
    """See reader.read_machine for where each comes from."""

    gpus: tuple[Gpu, ...] = ()
    distribution: str = ""
    codename: str = ""
    boot_id: str = ""
    container: bool = False
    """The kernel is that of another machine, and no reboot of this one changes it."""
    withheld: tuple[str, ...] = ()
    """Addresses of the host's cards, which this container sees and was not given."""
    wsl: bool = False
    """It is Windows' subsystem for Linux: the kernel and the driver are Windows' own."""
    nouveau: bool = False
    """It holds a card. Loaded and bound to none, it stands in nobody's way."""
    module: str = ""
    """Version of the loaded kernel module."""
    open_module: bool = False
    uvm: bool = False
    drm_users: int = 0
    """Users of nvidia_drm: a screen on the card."""
    libraries: tuple[str, ...] = ()
    """Versions of libcuda; two or more are a mixed installation."""
    kernel: str = ""
    """The running kernel's release."""
    next_kernel: str = ""
    """What will boot next; "" where there is no kernel in /boot (a container)."""
    boot: Boot = KNOWN
    """What the boot loader says of it; it may boot something else, which is no kernel of this machine."""
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    secure_boot: bool = False
    signatures_enforced: bool = False
    key: Key = Key()
    known_signers: tuple[str, ...] = ()
    """Those of this machine's modules whose key the firmware's lists have, wherever its file lies."""
    packages: Mapping[str, Package] = field(default_factory=dict)
    """Those of the driver and of kernels, half-installed ones included."""
    broken_packages: tuple[str, ...] = ()
    """Every package that dpkg has not finished with."""
    failures: tuple[Failure, ...] = ()
    holders: tuple[Holder, ...] = ()
    stopped: tuple[str, ...] = ()
    """Units that a reload has stopped and not started again."""
    passphrases: tuple[str, ...] = ()
    """Encrypted disks that ask a person at boot."""
    boot_free_mib: int | None = None
    """What is free where the kernels lie, in MiB."""
    reboot_for: tuple[str, ...] = ()
    """Packages that have asked for a reboot."""

    @property
    def library(self) -> str:
        """The newest libcuda."""
        return self.libraries[-1] if self.libraries else ""

    @property
    def running(self) -> Kernel:
        return self.kernels.get(self.kernel, Kernel(self.kernel, bootable=False))

    @property
    def following(self) -> Kernel | None:
        """The kernel that boots next, if that can be known."""
        return self.kernels.get(self.next_kernel)

    @property
    def target(self) -> Kernel:
        """The kernel that needs the module: the one that boots next, else the running one."""
        return self.following or self.running

    @property
    def prebuilt(self) -> bool:
        """The distribution builds and signs the modules: no headers, no DKMS."""
        return any(p.installed and name.startswith("linux-modules-nvidia-") for name, p in self.packages.items())

    @property
    def driver_packages(self) -> tuple[Package, ...]:
        """What makes up the driver, installed or half so."""
        return tuple(p for p in self.packages.values() if DRIVER.match(p.name))

    @property
    def broken_driver(self) -> tuple[str, ...]:
        """Those of the packages that dpkg has not finished with which a driver, a kernel or the next boot needs."""
        return tuple(name for name in self.broken_packages if NEEDED.match(name))

    @property
    def held(self) -> tuple[str, ...]:
        """Driver and kernel packages on hold."""
        return tuple(sorted(p.name for p in self.packages.values() if p.state[:1] == "h"))

    def failure(self, kernel: str) -> Failure | None:
        """The build that failed for ``kernel``, of the libraries' version first; a log that does not say for which kernel
        counts for every one."""
        there = [f for f in self.failures if f.kernel in (kernel, "")]
        return min(there, key=lambda f: f.version != self.library, default=None)

    @property
    def kind_loaded(self) -> str:
        """ "open" or "proprietary"; "" without a loaded module."""
        return ("open" if self.open_module else "proprietary") if self.module else ""

    @property
    def kind(self) -> str:
        """Which modules are installed, as their packages say; as the loaded one says where these do not tell."""
        kinds = {"open" if "open" in name else "proprietary" for name, p in self.packages.items()
                 if p.installed and (DKMS.fullmatch(name) or name.startswith("linux-modules-nvidia-"))}  # fmt: skip
        return kinds.pop() if len(kinds) == 1 else self.kind_loaded


def branch(version: str) -> int:
    """580 of "580.95.05"; 0 of what is no version."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _holds(found: Mapping[str, Any]) -> bool:
    """Whether nouveau, which is loaded, is bound to a card."""
    drivers, listed = [gpu.get("driver", "") for gpu in found["gpus"]], found.get("nouveau_cards")
    if "nouveau" in drivers or listed is not None:
        return "nouveau" in drivers or bool(listed)
    # A recording without its list: nouveau takes what nobody else has taken.
    return not any(drivers) or any(driver.lower().startswith("nova") for driver in drivers)


def parse(found: Mapping[str, Any]) -> Machine:
    """The Machine in what ``read_machine`` returned; what an older recording lacks has its default."""
    kernels = {k: Kernel(k, **values) for k, values in dict(found["kernels"]).items()}
    packages = {name: Package(name, **values) for name, values in found.get("packages", {}).items()}
    name, codename = distribution(found.get("release", {}))
    # An older recording has the entry alone.
    boot = boots([k for k, v in kernels.items() if v.bootable], found.get("boot") or {"chosen": found.get("boot_entry", "")})
    return Machine(
        gpus=tuple(Gpu(**gpu) for gpu in found["gpus"]),
        distribution=name,
        codename=codename,
        boot_id=found.get("boot_id", ""),
        container=found.get("container", False),
        withheld=tuple(found.get("withheld", ())),
        wsl=found.get("wsl", False) and not found["gpus"],  # an older recording goes by the kernel's name
        nouveau=found["nouveau"] and _holds(found),
        module=found["module"],
        open_module=found["open_module"],
        uvm=found.get("uvm", True),
        drm_users=found.get("drm_users", 0),
        libraries=tuple(sorted(found["libraries"], key=version_key)),
        kernel=found["kernel"],
        next_kernel=boot.kernel,
        boot=boot,
        kernels=kernels,
        secure_boot=found["secure_boot"],
        signatures_enforced=found["signatures_enforced"],
        key=Key(**found.get("key", {})),
        known_signers=tuple(found.get("known_signers", ())),
        packages=packages,
        broken_packages=tuple(found["broken_packages"]),
        failures=tuple(Failure(**failure) for failure in found.get("failures", ())),
        holders=tuple(Holder(h["pid"], h["name"], h["unit"]) for h in found.get("holders", ())),
        stopped=tuple(found.get("stopped", ())),
        passphrases=tuple(found.get("passphrases", ())),
        boot_free_mib=found.get("boot_free_mib"),
        reboot_for=tuple(found.get("reboot_for", ())),
    )
