"""A set of packages on the depot, resolved by the real apt against an archive in a folder."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from holdfast import depot
from holdfast.cli.main import run
from holdfast.depot import aptset, record
from holdfast.depot.aptset import AptSet
from holdfast.errors import HoldfastError


def package(archive: Path, name: str, version: str, depends: str = "") -> None:
    tree = archive / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: t <t@localhost>\nDescription: t\n"
    (tree / "DEBIAN/control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
    file = archive / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", tree, file], check=True, capture_output=True)
    subprocess.run(["rm", "-r", tree], check=True)
    index = subprocess.run(
        ["apt-ftparchive", "packages", "."], cwd=archive, check=True, capture_output=True, text=True
    ).stdout
    (archive / "Packages").write_text(index)


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptSet:
    if missing := aptset.lacking():
        pytest.skip(f"needs {' '.join(missing)}: sudo apt-get install {' '.join(missing)}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "archive"
    archive.mkdir()
    package(archive, "driver", "1:550.1-2", "library (= 550.1-2)")
    package(archive, "library", "550.1-2")
    package(archive, "linux-image-6.1-amd64", "6.1.5-1")
    package(archive, "linux-headers-6.1-amd64", "6.1.5-1", "library")
    package(archive, "stranger", "1.0")
    sources = f"Types: deb\nURIs: copy:{archive}\nSuites: ./\nTrusted: yes\n"
    names = ("driver", "linux-image-6.1-amd64", "linux-headers-6.1-amd64")
    return AptSet("driver-test", "trixie", names, sources, "driver")


def test_a_set_is_whole_signed_recorded_and_not_fetched_again(wanted: AptSet, tmp_path: Path) -> None:
    entry = depot.fetch_set(wanted)
    assert entry.version == "1:550.1-2" and aptset.kernels(entry) == ["6.1-amd64"]
    assert entry.parts == {"driver": "1:550.1-2", "library": "550.1-2", "linux-image-6.1-amd64": "6.1.5-1",
                           "linux-headers-6.1-amd64": "6.1.5-1"}  # fmt: skip
    folder = record.root() / wanted.folder
    assert {"keyring.gpg", "pool", "dists"} == {path.name for path in folder.iterdir()}
    signed = subprocess.run(
        ["gpgv", "--keyring", folder / "keyring.gpg", folder / "dists/trixie/InRelease"], check=False
    )
    assert signed.returncode == 0
    assert depot.verify()["driver-test"] == ""
    # A package of its own that is damaged is seen, and fetched again; so is what the archive has newer.
    library = next(folder.glob("pool/library_*"))
    inode = library.stat().st_ino
    assert depot.fetch_set(wanted) == entry and library.stat().st_ino == inode, "nothing is done again"
    library.unlink()
    assert "library" in depot.verify()["driver-test"]
    assert depot.fetch_set(wanted).parts == entry.parts and depot.verify()["driver-test"] == ""
    (tmp_path / "archive/driver_1%3a550.1-2_amd64.deb").unlink()
    package(tmp_path / "archive", "driver", "1:550.2-1", "library")
    newer = depot.fetch_set(wanted)
    assert newer.version == "1:550.2-1" and len(list(folder.glob("pool/driver_*"))) == 1


def test_what_the_archive_lacks_is_told_and_what_was_there_stays(wanted: AptSet) -> None:
    entry = depot.fetch_set(wanted)
    lacking = AptSet(wanted.name, wanted.suite, (*wanted.packages, "nowhere"), wanted.sources, wanted.main)
    with pytest.raises(HoldfastError) as error:
        depot.fetch_set(lacking)
    assert re.search("Unable to locate package nowhere", error.value.message) and "archive" in error.value.fix
    assert record.load()[wanted.name] == entry and depot.verify()["driver-test"] == ""


def test_the_list_names_the_set_and_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run(["depot", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("driver-trixie "))
    assert "not in the depot (./holdfast depot fetch driver-trixie)" in line
    assert run(["depot", "fetch", "driver-noble"]) == 2
