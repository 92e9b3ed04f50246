"""The package set per distribution, cards and settings; one source only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.components.nvidia.cards import _OLDER, UNKNOWN, card
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.machine import Gpu, Kernel, Machine, Package
from holdfast.components.nvidia.packages import Want, choose, foreign, missing, superseded
from holdfast.components.nvidia.steps import Install
from holdfast.components.nvidia.together import KNOWN, apt_set, driver_set, kept_as, to_keep
from holdfast.errors import HoldfastError
from holdfast.fit import CARDS

AMPERE, BLACKWELL, PASCAL, KEPLER, VOLTA = "0x2204", "0x2b85", "0x1b80", "0x1180", "0x1db1"
KERNEL = "6.12.117+deb13-amd64"


def machine(distribution: str, codename: str, *devices: str, packages: tuple[Package, ...] = ()) -> Machine:
    gpus = tuple(Gpu(f"0000:0{n}:00.0", device) for n, device in enumerate(devices or (AMPERE,)))
    return Machine(
        gpus=gpus, distribution=distribution, codename=codename, kernel=KERNEL, packages={p.name: p for p in packages},
        kernels={KERNEL: Kernel(KERNEL)}, next_kernel=KERNEL,
    )  # fmt: skip


def ubuntu(kind: str, number: int = 580, opened: str = "open-") -> tuple[str, ...]:
    return (
        f"linux-modules-nvidia-{number}-server-{opened}{kind}",
        f"nvidia-headless-no-dkms-{number}-server{'-open' if opened else ''}",
        f"nvidia-utils-{number}-server",
    )


VENDOR = ("linux-headers-amd64", "nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced")
OWN = ("linux-headers-amd64", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "nvidia-persistenced")


@pytest.mark.parametrize(
    ("where", "devices", "want", "vendor", "names"),
    [
        (("ubuntu", "jammy"), [], Want(), "", ubuntu("generic")),
        (("ubuntu", "noble"), [], Want(), "", ubuntu("generic")),
        (("ubuntu", "resolute"), [], Want(branch=595), "", ubuntu("generic", 595)),
        (("ubuntu", "noble"), [PASCAL], Want(), "", ubuntu("generic", opened="")),
        (("ubuntu", "noble"), [BLACKWELL], Want(), "", ubuntu("generic")),
        (("ubuntu", "noble"), [], Want(modules="proprietary"), "", ubuntu("generic", opened="")),
        (("debian", "bookworm"), [], Want(), "debian12", VENDOR),
        (("debian", "trixie"), [], Want(), "", OWN),
        (("debian", "trixie"), [], Want(source="nvidia"), "debian13", VENDOR),
        (("debian", "trixie"), [BLACKWELL], Want(), "debian13", VENDOR),
        (("debian", "trixie"), [], Want(minimum=580), "debian13", VENDOR),
        (("debian", "trixie"), [], Want(branch=595), "debian13", VENDOR),
        (("debian", "bookworm"), [PASCAL], Want(), "debian12", (VENDOR[0], "nvidia-kernel-dkms", *VENDOR[2:])),
        # Debian's 550 drives a Pascal card, and Ollama does not take it below 570.
        (("debian", "trixie"), [AMPERE, PASCAL], Want(), "debian13", (VENDOR[0], "nvidia-kernel-dkms", *VENDOR[2:])),
        (("debian", "trixie"), [VOLTA], Want(), "", OWN),
    ],
)
def test_sets(where: tuple[str, str], devices: list[str], want: Want, vendor: str, names: tuple[str, ...]) -> None:
    choice = choose(machine(*where, *devices), want)
    assert (choice.vendor, choice.packages) == (vendor, names)
    assert choice.branch >= want.minimum
    assert missing(machine(*where, *devices), choice) == list(names)
    whole = tuple(Package(name, f"{choice.branch}.1.1", vendor=bool(vendor)) for name in names)
    assert missing(machine(*where, *devices, packages=whole), choice) == []


@pytest.mark.parametrize(
    ("where", "devices", "want", "words"),
    [
        (("debian", "trixie"), [BLACKWELL, PASCAL], Want(), "no driver drives all of these cards"),
        (("debian", "trixie"), [KEPLER], Want(), "no driver drives all"),
        (("debian", "bookworm"), [], Want(source="distribution"), "branch 535 does not do"),
        (("debian", "trixie"), [], Want(source="distribution", branch=580), "has branch 550 only"),
        (("ubuntu", "noble"), [], Want(source="nvidia"), "is not used on ubuntu noble"),
        (("ubuntu", "noble"), [PASCAL], Want(branch=595), "branch 595 does not do for GeForce GTX 1080"),
        (
            ("ubuntu", "noble"),
            [BLACKWELL],
            Want(modules="proprietary"),
            "proprietary modules do not drive GeForce RTX 5090",
        ),
        (("ubuntu", "noble"), [], Want(branch=535), "branch 535 does not do"),
        (("arch", ""), [], Want(), "no driver packages are known for arch"),
    ],
)
def test_what_cannot_be(where: tuple[str, str], devices: list[str], want: Want, words: str) -> None:
    with pytest.raises(HoldfastError) as error:
        choose(machine(*where, *devices), want)
    assert words in error.value.message and error.value.fix


def test_a_card_that_nobody_uses_excludes_nothing() -> None:
    mixed = machine("ubuntu", "noble", PASCAL, BLACKWELL)
    assert choose(mixed, Want(gpus={"big": "0000:01:00.0"})).open
    assert not choose(mixed, Want(gpus={"old": "0000:00:00.0"})).open


@pytest.mark.parametrize(
    ("distribution", "codename", "installed", "kind"),
    [
        ("ubuntu", "noble", ["linux-image-generic-hwe-24.04"], "generic-hwe-24.04"),
        ("ubuntu", "jammy", ["linux-generic-hwe-22.04", "linux-headers-generic-hwe-22.04"], "generic-hwe-22.04"),
        ("ubuntu", "noble", ["linux-generic"], "generic"),
        # It is the generic kernel; no modules are built under that name.
        ("ubuntu", "noble", ["linux-image-virtual"], "generic"),
        ("ubuntu", "noble", ["linux-image-virtual-hwe-24.04"], "generic-hwe-24.04"),
        ("ubuntu", "noble", ["linux-oem-24.04c", "linux-image-oem-24.04c"], "oem-24.04c"),
        ("ubuntu", "noble", ["linux-image-lowlatency-hwe-24.04"], "lowlatency-hwe-24.04"),
        ("ubuntu", "noble", ["linux-aws"], "aws"),
        ("debian", "trixie", ["linux-image-cloud-amd64"], "cloud-amd64"),
        # Nothing tells.
        ("ubuntu", "noble", [], "generic"),
        ("debian", "trixie", ["linux-image-amd64"], "amd64"),
    ],
)
def test_the_kernels_flavour(distribution: str, codename: str, installed: list[str], kind: str) -> None:
    there = machine(distribution, codename, packages=tuple(Package(name, "1") for name in installed))
    first = choose(there, Want()).packages[0]
    assert first.removeprefix("linux-headers-").removeprefix("linux-modules-nvidia-580-server-open-") == kind


@pytest.mark.parametrize(
    ("release", "kind"),
    [("6.8.0-1020-azure", "azure"), ("6.8.0-50-lowlatency", "lowlatency"), ("6.8.0-50-generic", "generic"),
     ("6.14.0-1018-oem", "generic"), ("6.8.0-50-mine", "generic")],
)  # fmt: skip
def test_without_a_metapackage_the_releases_name_tells_the_flavour(release: str, kind: str) -> None:
    there = machine("ubuntu", "noble", packages=(Package(f"linux-image-{release}", "1"),))
    booting = replace(there, kernel=release, next_kernel=release, kernels={release: Kernel(release)})
    assert choose(booting, Want()).packages[0] == f"linux-modules-nvidia-580-server-open-{kind}"


def test_of_several_flavours_the_one_that_boots_counts() -> None:
    oem, both = "6.14.0-1018-oem", tuple(Package(n, "1") for n in ("linux-generic-hwe-24.04", "linux-oem-24.04c"))
    there = machine("ubuntu", "noble", packages=both)
    for release, kind in ((oem, "oem-24.04c"), ("6.14.0-37-generic", "generic-hwe-24.04")):
        booting = replace(there, kernel=release, next_kernel=release, kernels={release: Kernel(release)})
        assert choose(booting, Want()).packages[0] == f"linux-modules-nvidia-580-server-open-{kind}"


@pytest.mark.parametrize("names", ["linux-generic linux-generic-hwe-24.04", "linux-image-generic-hwe-24.04 linux-image-virtual"])
@pytest.mark.parametrize(
    ("release", "kind"),
    [
        ("6.8.0-50-generic", "generic"),
        ("6.14.0-37-generic", "generic-hwe-24.04"),
        # Older than what the metapackages bring by now; of the same series.
        ("6.8.0-31-generic", "generic"),
        ("6.14.0-24-generic", "generic-hwe-24.04"),
    ],
)
def test_of_a_releases_own_kernel_and_the_newer_one_the_one_that_boots_counts(names: str, release: str, kind: str) -> None:
    there = tuple(Package(n, "6.14.0-37.37~24.04.1" if "hwe" in n else "6.8.0-50.51") for n in names.split())
    booting = replace(
        machine("ubuntu", "noble", packages=there), kernel=release, next_kernel=release, kernels={release: Kernel(release)}
    )
    assert choose(booting, Want()).packages[0] == f"linux-modules-nvidia-580-server-open-{kind}"
    # Ubuntu 22.04 writes its versions with dots alone.
    old = {"linux-generic": "5.15.0.130.128", "linux-generic-hwe-22.04": "6.8.0-51.52~22.04.1"}
    jammy = machine("ubuntu", "jammy", packages=tuple(Package(*one) for one in old.items()))
    for boots, suffix in (("5.15.0-130-generic", "generic"), ("6.8.0-51-generic", "generic-hwe-22.04")):
        one = replace(jammy, kernel=boots, next_kernel=boots, kernels={boots: Kernel(boots)})
        assert choose(one, Want()).packages[0] == f"linux-modules-nvidia-580-server-open-{suffix}"


@pytest.mark.parametrize(
    ("where", "beside"),
    [
        (("debian", "trixie"), Package("nvidia-docker2", "2.14.0-1", vendor=True)),
        (("ubuntu", "noble"), Package("nvidia-container-toolkit", "1.17.8-1", vendor=True)),
        (("debian", "trixie"), Package("nvidia-fs-dkms", "2.26.6-1", vendor=True)),
        (("debian", "bookworm"), Package("nvidia-cuda-toolkit", "11.8.89~11.8.0-5")),
        (("debian", "bookworm"), Package("nvidia-detect", "535.261.03-1")),
        (("debian", "bookworm"), Package("libnvidia-egl-wayland1", "1:1.1.10-1")),
    ],
)
def test_what_stands_beside_the_driver_is_no_driver(where: tuple[str, str], beside: Package) -> None:
    there = machine(*where, packages=(beside,))
    assert foreign(there, choose(there, Want())) == ""
    assert isinstance(to_install(there, Want(), ()), Install)
    # The driver's own of the same origin do stand in the way.
    own = machine(*where, packages=(replace(beside, name="nvidia-smi"),))
    assert "nvidia-smi" in foreign(own, choose(own, Want()))


def test_modules_of_the_other_kind_make_way_on_ubuntu() -> None:
    """Both kinds have the same modules in them, and which one is loaded would be left to chance."""
    opened = ubuntu("generic")
    there = machine("ubuntu", "noble", PASCAL, packages=tuple(Package(name, "580.1") for name in opened))
    choice = choose(there, Want())
    assert choice.packages == ubuntu("generic", opened="") and missing(there, choice) == list(choice.packages[:2])
    assert superseded(there, choice) == sorted(opened[:2])


def test_sources_are_never_mixed() -> None:
    debian = machine("debian", "trixie", packages=(Package("nvidia-kernel-dkms", "550.163.01-2"),))
    vendor = machine("debian", "trixie", packages=(Package("nvidia-driver-cuda", "580.95.05-1", vendor=True),))
    own, theirs = choose(debian, Want()), choose(debian, Want(source="nvidia"))
    assert (foreign(debian, own), foreign(vendor, theirs)) == ("", "")
    assert "nvidia-driver-cuda" in foreign(vendor, own) and "from the distribution" in foreign(debian, theirs)
    assert ".run file" in foreign(replace(machine("debian", "trixie"), libraries=("580.1.1",)), own)
    desktop = machine("ubuntu", "noble", packages=(Package("nvidia-driver-580-open", "580.1"),))
    assert "for desktops" in foreign(desktop, choose(desktop, Want()))
    server = machine("ubuntu", "noble", packages=(Package("nvidia-utils-580-server", "580.1"),))
    assert foreign(server, choose(server, Want())) == ""


def test_a_new_branch_takes_the_old_ones_place() -> None:
    names = ("nvidia-utils-580-server", "libnvidia-compute-580-server", "linux-modules-nvidia-580-server-open-generic")
    there = machine("ubuntu", "noble", packages=tuple(Package(name, "580.1") for name in names))
    assert superseded(there, choose(there, Want(branch=595))) == sorted(names)
    assert superseded(there, choose(there, Want(branch=580))) == []
    older = machine("debian", "trixie", packages=tuple(Package(name, "580.1", vendor=True) for name in VENDOR))
    assert missing(older, choose(older, Want(branch=595))) == list(VENDOR[1:])


def test_what_belongs_together_on_a_depot() -> None:
    names = {
        "nvidia-kernel-dkms": "550-2", "libcuda1": "550-2", "dkms": "3.1", f"linux-image-{KERNEL}": "6.12.117-1",
        f"linux-headers-{KERNEL}": "6.12.117-1", "linux-headers-6.12.107+deb13-amd64": "6.12.107-1",
        "linux-image-amd64": "6.12.117-1", "linux-headers-6.12.117+deb13-common": "6.12.117-1",
        "linux-kbuild-6.12.117+deb13": "6.12.117-1", "linux-headers-6.12.107+deb13-common": "6.12.107-1",
    }  # fmt: skip
    there = machine("debian", "trixie", packages=tuple(Package(name, version) for name, version in names.items()))
    found = driver_set(there)
    assert found.kernel == KERNEL
    assert found.packages == {n: v for n, v in sorted(names.items()) if "107" not in n}


def test_every_named_card_has_an_architecture() -> None:
    known = [device for kind in CARDS.values() for device in kind.devices]
    older = [f"{number:04x}" for number in _OLDER]
    assert not set(known) & set(older)
    for device in known + older:
        found = card(f"0x{device}")
        assert found.architecture is not UNKNOWN and not found.name.startswith("NVIDIA device")
    # One id for two sizes of memory.
    assert card("0x2d04").name == "GeForce RTX 5060 Ti" and card("0x1b80").name == "GeForce GTX 1080"
    kinds = {
        device: card(device).architecture.name
        for device in (KEPLER, PASCAL, AMPERE, BLACKWELL, "0x1e04", "0x2684", "0x20b0")
    }
    assert list(kinds.values()) == ["Kepler", "Pascal", "Ampere", "Blackwell", "Turing", "Ada", "Ampere"]
    assert card("0x3f00").architecture.proprietary is False and card("?").name == "NVIDIA device ?"


def test_the_set_that_a_plan_names_is_the_one_that_a_depot_can_be_filled_with() -> None:
    there = machine("debian", "trixie")
    name, packages = to_keep(choose(there, Want()), there)
    assert name == "driver-trixie" and set(packages) == {"linux-image-amd64", *OWN} == set(KNOWN[name])
    assert "./holdfast depot fetch driver-trixie" in kept_as(choose(there, Want()), there)
    # Other packages, another kernel's flavour, another distribution: another set, which no depot has.
    cloud = machine("debian", "trixie", packages=(Package("linux-image-cloud-amd64", "1"),))
    assert to_keep(choose(cloud, Want()), cloud)[0] == "driver-trixie-cloud-amd64"
    for other, want in ((cloud, Want()), (there, Want(source="nvidia")), (machine("ubuntu", "noble"), Want())):
        assert "no depot has it yet" in kept_as(choose(other, want), other)
    with pytest.raises(HoldfastError) as error:
        apt_set("driver-noble", [])
    assert error.value.code == 2 and error.value.allowed == "driver-trixie"


def test_the_sets_mirrors_are_those_of_this_computer() -> None:
    ubuntu = {"uris": "http://u.example/ubuntu", "suites": "noble noble-security"}
    debian = {"uris": "http://d.example/debian/", "suites": "bookworm bookworm-updates"}
    security = {"uris": "http://s.example/debian-security", "suites": "bookworm-security"}
    sources = apt_set("driver-trixie", [ubuntu, debian, security]).sources
    assert "URIs: http://d.example/debian\nSuites: trixie trixie-updates\n" in sources
    assert "URIs: http://s.example/debian-security\nSuites: trixie-security\n" in sources and "Signed-By: /usr/share" in sources
    assert "URIs: http://d.example/debian-security\n" in apt_set("driver-trixie", [debian]).sources
    with pytest.raises(HoldfastError) as error:
        apt_set("driver-trixie", [ubuntu])
    assert "no mirror of Debian" in error.value.message


def test_cards_whose_last_branch_was_390_are_told_from_their_neighbours() -> None:
    """Ids of NVIDIA's list of legacy GPUs, and the Kepler and Maxwell ones around them."""
    legacy = "0x0040 0x0191 0x05e2 0x06cd 0x0a65 0x0de1 0x0f00 0x0fbf 0x1040 0x1080 0x10c3 0x1140 0x1200 0x1251"
    kepler = "0x0fc0 0x1004 0x103c 0x1180 0x11c0 0x1280 0x12b9"
    assert {card(device).architecture.last for device in legacy.split()} == {390}
    assert {card(device).architecture.name for device in kepler.split()} == {"Kepler"}
    assert card("0x1340").architecture.name == "Maxwell" and card("").architecture is UNKNOWN
