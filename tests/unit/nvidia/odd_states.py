"""What machines are seen in that nobody planned, as folders that look like them; for test_odd_states.py."""

from __future__ import annotations

from tests.unit.nvidia.states import BLACKWELL, HERE, OPEN, PASCAL
from tests.unit.nvidia.trees import (
    CARDS,
    ENROLLED,
    NEW,
    NOUVEAU,
    OLD,
    OWN_KEY,
    SECURE_BOOT,
    Files,
    N,
    V,
    boot,
    card,
    debian,
    dpkg,
    headers,
    holder,
    library,
    loaded,
    module,
    package,
    ubuntu,
)

OWN = ("linux-headers-amd64", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")
NVIDIA = "NVIDIA <cudatools@nvidia.com>"


def there(*names: str, version: str = V, maintainer: str = "Debian") -> list[str]:
    return [package(name, version, maintainer=maintainer) for name in names]


def theirs(*names: str) -> list[str]:
    return there(*names, version=N, maintainer=NVIDIA)


def without(files: Files, *words: str) -> Files:
    return {path: text for path, text in files.items() if not any(word in path for word in words)}


def at(address: str, **more: str | bytes) -> Files:
    return {f"sys/bus/pci/devices/{address}/{name}": value for name, value in more.items()}


SECOND = "0000:02:00.0"
INSTALLED: Files = {**HERE, **debian(), **headers(OLD), **dpkg(*there(*OWN))}
WORKS: Files = {**INSTALLED, **loaded(V)}
TAKEN = {"sys/bus/pci/devices/0000:01:00.0/driver": "../../bus/pci/drivers/nvidia"}
BOTH = {**TAKEN, f"sys/bus/pci/devices/{SECOND}/driver": "../../bus/pci/drivers/nvidia"}
GIVEN_AWAY = {
    "sys/bus/pci/devices/0000:01:00.0/driver": "../../bus/pci/drivers/vfio-pci",
    f"sys/bus/pci/devices/{SECOND}/driver": "../../bus/pci/drivers/snd",
}
SECURE: Files = {SECURE_BOOT: b"\x06\0\0\0\x01"}
VENDOR_OPEN = dpkg(
    *theirs("nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced"), *there("linux-headers-amd64")
)
NEWER: Files = {**CARDS, **debian(), **boot(OLD), **module(OLD, N), **library(N), **loaded(V), **dpkg(*there(*OWN))}
GIVEN: Files = {"run/systemd/container": "lxc", "dev/nvidiactl": ""}
SHADOWED: Files = {
    **CARDS, **ubuntu(), **boot(OLD), **library(N, ""), **loaded(V),
    **module(OLD, N, "kernel/nvidia-580srv-open/nvidia.ko.zst"), **module(OLD, V, "updates/dkms/nvidia.ko.zst"),
    **dpkg(*there("linux-modules-nvidia-580-server-open-generic", "nvidia-headless-no-dkms-580-server-open",
                  "nvidia-utils-580-server", version=N)),
}  # fmt: skip
# As update-grub writes it: the newest kernel, and a menu below it.
MENU = f"""
function x {{
}}
menuentry 'Debian' {{
  linux\t/vmlinuz-{NEW} root=a
}}
submenu 'Advanced' {{
  menuentry 'new' {{
    linux\t/vmlinuz-{NEW} root=a
  }}
  menuentry 'new, recovery' {{
    linux\t/vmlinuz-{NEW} root=a single
  }}
  menuentry 'old' {{
    linux\t/vmlinuz-{OLD} root=a
  }}
}}
"""
# name: (files, links, state, words of the finding ("" for none), words of its way out)
ODD: dict[str, tuple[Files, dict[str, str], str, str, str]] = {
    "a card that no driver has taken": (WORKS, TAKEN, "ready", f"{SECOND} is on the bus and no driver holds it", "dmesg"),
    "no driver has taken any": (
        {**WORKS, "proc/driver/nvidia/gpus/x": ""}, {},
        "ready", "0000:01:00.0 is on the bus and no driver holds it", "power cables",
    ),
    "the module says what it has taken": (
        {**WORKS, "proc/driver/nvidia/gpus/0000:01:00.0/information": "x", f"proc/driver/nvidia/gpus/{SECOND}/information": "x"},
        {}, "ready", "", "",
    ),
    "one that sleeps for good": (
        {**WORKS, **at(SECOND, power_state="D3cold\n")}, TAKEN, "ready", "no driver holds it, and it sleeps (D3cold)", "dmesg",
    ),
    "one that sleeps until it is used": ({**WORKS, **at(SECOND, power_state="D3cold\n")}, BOTH, "ready", "", ""),
    "one that fell off the bus": (
        {**WORKS, **at(SECOND, config=b"\xff" * 64)}, BOTH, "ready", f"{SECOND} does not answer any more", "sudo poweroff",
    ),
    "one that was given away": (
        WORKS, {**BOTH, f"sys/bus/pci/devices/{SECOND}/driver": "../../bus/pci/drivers/pci-stub"},
        "ready", "pci-stub holds it", "kernel's command line",
    ),
    "nouveau is loaded, and a virtual machine has the card that it would take": (
        {**INSTALLED, **NOUVEAU}, GIVEN_AWAY, "needs_reload", "the driver's module is not loaded", "./holdfast up",
    ),
    "nouveau is loaded and holds no card": (
        {**INSTALLED, **NOUVEAU, "sys/bus/pci/drivers/nouveau/bind": ""}, {},
        "needs_reload", "the driver's module is not loaded", "./holdfast up",
    ),
    "nouveau is loaded and holds one": (
        {**INSTALLED, **NOUVEAU}, {f"sys/bus/pci/drivers/nouveau/{SECOND}": f"../../../../devices/{SECOND}"},
        "needs_reboot", "nouveau holds the cards", "reboot",
    ),
    "nouveau beside the driver, and no card of its own": ({**WORKS, **NOUVEAU}, BOTH, "ready", "", ""),
    "nova in nouveau's place": ({**INSTALLED, "sys/module/nova_core/x": ""}, {}, "needs_reboot", "nouveau holds", "reboot"),
    "a module of DKMS hides the packages'": (
        SHADOWED, {}, "next_kernel_broken", f"hides the {N} of the packages", f"dkms remove nvidia/{V} --all",
    ),
    "modules of two names, and no rule for the older": (
        {**CARDS, **debian(), **boot(OLD), **library(N, ""), **loaded(N), **module(OLD, V),
         **module(OLD, N, "updates/dkms/nvidia.ko.xz")},
        {}, "ready", "", "",
    ),
    "modules of two names, and a rule": (
        {**INSTALLED, **module(OLD, N, "updates/dkms/nvidia.ko.xz"),
         "etc/modprobe.d/nvidia.conf": "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"},
        {}, "needs_reload", "not loaded", "modprobe",
    ),
    "the running kernel was removed": (
        {**without(WORKS, "boot/", "lib/modules"), **boot(NEW), **module(NEW, V)}, {}, "ready", "", "",
    ),
    "the running kernel was removed, nothing loaded": (
        {**without(INSTALLED, "boot/", "lib/modules"), **boot(NEW), **module(NEW, V)}, {},
        "needs_reboot", f"which runs, has no module; {NEW} has it", "sudo reboot",
    ),
    "a driver of two sources": (
        {**CARDS, **debian(), **boot(OLD), **library(N, ""), **module(OLD, V), **headers(OLD),
         **dpkg(*there("nvidia-kernel-dkms"), *theirs("libcuda1", "nvidia-driver-cuda"))},
        {}, "broken_packages", "mixed of two sources, nvidia-kernel-dkms from the distribution", "apt purge nvidia-kernel-dkms",
    ),
    "open modules for Pascal, not loaded": (
        {**PASCAL, **debian(), **boot(OLD), **library(N, ""), **module(OLD, N, "updates/dkms/nvidia.ko.xz"), **VENDOR_OPEN},
        {}, "absent", "the open modules do not drive GeForce GTX 1080", "./holdfast up",
    ),
    "the right modules for Pascal, the open ones still loaded": (
        {**PASCAL, **debian(), **boot(OLD), **library(N, ""), **module(OLD, N, "updates/dkms/nvidia.ko.xz"), **loaded(N, OPEN),
         **dpkg(*theirs("nvidia-kernel-dkms", "nvidia-driver-cuda", "nvidia-persistenced"), *there("linux-headers-amd64"))},
        {}, "needs_reload", "they are loaded, and the proprietary ones are installed", "./holdfast up",
    ),
    "Debian's 550 for Pascal": (
        {**WORKS, **without(PASCAL, "none"), **at("0000:01:00.0", device="0x1b80")}, {},
        "absent", "older than 570, the first with which Ollama takes GeForce GTX 1080", "sudo apt purge libcuda1",
    ),
    "proprietary modules for Blackwell, not loaded": (
        {**BLACKWELL, **debian(), **boot(OLD), **library(N, ""), **module(OLD, N, "updates/dkms/nvidia.ko.xz"),
         **dpkg(*theirs("nvidia-kernel-dkms", "nvidia-driver-cuda"))},
        {}, "absent", "it needs the open ones", "./holdfast up",
    ),
    "Debian's 550 for Blackwell": (
        {**without(INSTALLED, "pci"), **BLACKWELL}, {}, "absent", "older than 570", "sudo apt purge libcuda1 libnvidia-cfg1",
    ),
    "cards that exclude each other": (
        {**card("0000:01:00.0", device="0x2b85"), **card(SECOND, device="0x1b80"), **boot(OLD), **debian()}, {},
        "absent", "no driver drives all of these cards", "take out of `gpus`",
    ),
    "a card too old": (
        {**card("0000:01:00.0", device="0x1004"), **boot(OLD), **debian()}, {},
        "absent", "(Kepler): branch 304 to 470", "leave these cards out",
    ),
    "a card older than Kepler": (
        {**card("0000:01:00.0", device="0x0a65"), **boot(OLD), **ubuntu()}, {},
        "absent", "NVIDIA device 0x0a65 at 0000:01:00.0 (Fermi or older): branch 71 to 390", "leave these cards out",
    ),
    "Fermi beside Ampere, and neither declared": (
        {**card("0000:01:00.0"), **card(SECOND, device="0x1200"), **boot(OLD), **debian()}, {},
        "absent", "(Fermi or older): branch 71 to 390, proprietary modules", "leave these cards out",
    ),
    "Debian's driver for data-centre cards": (
        {**CARDS, **debian(), **boot(OLD), **headers(OLD), **library("535.261.03", "nvidia/tesla-535/"), **loaded("535.261.03"),
         **module(OLD, "535.261.03", "updates/dkms/nvidia-tesla-535.ko.xz"),
         **dpkg(*there("nvidia-tesla-535-kernel-dkms", "libnvidia-tesla-535-cuda1"))}, {},
        "absent", "would be mixed with Debian's driver for data-centre cards: libnvidia-tesla-535-cuda1",
        "sudo apt purge libnvidia-tesla-535-cuda1 nvidia-tesla-535-kernel-dkms",
    ),
    "two of Debian's drivers, and the alternative says which": (
        {**WORKS, **library("470.256.02", "nvidia/tesla-470/")}, {"etc/alternatives/nvidia": "/usr/lib/nvidia/current"},
        "ready", "", "",
    ),
    "two of Debian's drivers, and nothing says which": (
        {**WORKS, **library("470.256.02", "nvidia/tesla-470/")}, {},
        "broken_packages", "libraries of several drivers", "keep one",
    ),
    "a distribution without packages": (
        {**CARDS, **boot(OLD), "etc/os-release": "ID=arch\n"}, {}, "absent", "no driver packages are known for arch", "by hand",
    ),
    "a .run file's driver, not loaded": (
        {**CARDS, **debian(), **boot(OLD), **library(N, ""), **module(OLD, N, "kernel/drivers/video/nvidia.ko")}, {},
        "needs_reload", "not loaded", "./holdfast up",
    ),
    "Secure Boot, and no key was made": (
        {**INSTALLED, **SECURE}, {},
        "needs_key", "no key of this machine", "dkms generate_mok; sudo dpkg-reconfigure nvidia-kernel-dkms",
    ),
    "Secure Boot, and no mokutil": ({**INSTALLED, **SECURE, **OWN_KEY}, {}, "needs_key", "mok.pub", "apt install mokutil"),
    "Secure Boot, the key is enrolled": (
        {**INSTALLED, **SECURE, **OWN_KEY, ENROLLED: b"\7\0\0\0." + bytes(OWN_KEY["var/lib/dkms/mok.pub"])}, {},  # type: ignore[arg-type]
        "needs_reload", "not loaded", "./holdfast up",
    ),
    "Secure Boot, modules of Ubuntu": (
        {**without(SHADOWED, "updates", "sys/module", "proc"), **SECURE}, {}, "needs_reload", "not loaded", "./holdfast up",
    ),
    "held, and not done": (
        {**WORKS, **dpkg(package("nvidia-kernel-dkms", V, "hold ok half-configured"), *there(*OWN[2:]))}, {},
        "broken_packages", "half-installed packages: nvidia-kernel-dkms", "dpkg --configure -a",
    ),
    "the modules for the next kernel are on hold": (
        {**CARDS, **ubuntu(), **boot(OLD), **boot(NEW), **library(N, ""), **loaded(N, OPEN),
         **module(OLD, N, "kernel/nvidia-580srv-open/nvidia.ko"),
         **dpkg(package("linux-modules-nvidia-580-server-open-generic", N, "hold ok installed"),
                *there("nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server"))}, {},
        "next_kernel_broken", "linux-modules-nvidia-580-server-open-generic is on hold",
        "sudo apt-mark unhold linux-modules-nvidia-580-server-open-generic; then ./holdfast up HOST",
    ),
    "an empty initrd": (
        {**WORKS, **boot(NEW), **module(NEW, V), **headers(NEW), f"boot/initrd.img-{NEW}": "", "boot.free_mib": "3"}, {},
        "next_kernel_broken", "has no initrd; /boot has 3 MiB left", "apt autoremove --purge",
    ),
    "a full /boot, and dpkg gave up": (
        {**WORKS, **boot(NEW, initrd=False), "boot.free_mib": "0",
         **dpkg(package(f"linux-image-{NEW}", "1", "install ok half-configured"), *there(*OWN))}, {},
        "broken_packages", "; /boot has 0 MiB left", "apt autoremove --purge",
    ),
    "no /boot at all": (without(WORKS, "boot/"), {}, "ready", "", ""),
    "no /boot, and nouveau": (
        {**without(INSTALLED, "boot/"), **NOUVEAU}, {}, "needs_reboot", "no kernel is in /boot", "mount /boot",
    ),
    "a disk with a passphrase": (
        {**INSTALLED, **NOUVEAU, "etc/crypttab": "root UUID=1 none luks\n"}, {},
        "needs_reboot", "the disk root asks for a passphrase", "where you can type the passphrase",
    ),
    "a person computes, and the library is newer": (
        {**NEWER, **holder(72, "python3", "/user.slice/user-1000.slice/session-3.scope")}, {"proc/72/fd/7": "/dev/nvidia0"},
        "needs_reboot", "held by python3 (pid 72)", "sudo reboot",
    ),
    "a container without the cards": (
        {**WORKS, "run/systemd/container": "lxc"}, {}, "no_gpu", "was given none of its host's cards", "/dev/nvidia*",
    ),
    "Docker, without the cards": (
        {**WORKS, ".dockerenv": ""}, {}, "no_gpu", "was given none of its host's cards", "/dev/nvidia*",
    ),
    "Podman, with the cards and other libraries than its host": (
        {**without(WORKS, "boot/", "lib/modules"), **loaded(N), "run/.containerenv": "", "dev/nvidiactl": ""}, {}, "needs_reboot",
        "the module is that of the machine around", "the machine that this one runs on",
    ),
    "no card at all": (without(WORKS, "sys/bus/pci"), {}, "no_gpu", "", ""),
    "virtual machines have all cards": (
        INSTALLED, {at: link.replace("snd", "vfio-pci") for at, link in GIVEN_AWAY.items()},
        "no_gpu", f"RTX 3090 at {SECOND} is handed to a virtual machine (vfio-pci)", "take it back (out of the virtual machine",
    ),
    "a container with other libraries than its host": (
        {**without(WORKS, "boot/", "lib/modules"), **loaded(N), **GIVEN}, {}, "needs_reboot",
        f"module {N} is loaded, the libraries are {V}; the module is that of the machine around",
        "the machine that this one runs on",
    ),
    "a container without libraries": (
        {**without(WORKS, "boot/", "lib/modules", "usr/lib"), **GIVEN}, {}, "absent",
        f"the driver of the machine around this container is {V}", f"the libraries of exactly {V}",
    ),
    "the next kernel by its place in GRUB's menu": (
        {**WORKS, **boot(NEW), "etc/default/grub": 'GRUB_DEFAULT="1>2"\n', "boot/grub/grub.cfg": MENU}, {},
        "ready", "", "",
    ),
}  # fmt: skip
