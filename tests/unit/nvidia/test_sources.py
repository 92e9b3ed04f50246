"""apt's sources: the machine's own mirrors are asked for what is missing, NVIDIA's repository is let in for the driver alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.components.nvidia import sources
from holdfast.components.nvidia.machine import Machine
from holdfast.components.nvidia.packages import Choice
from holdfast.components.nvidia.repository import keyring, read_sources
from holdfast.errors import HoldfastError
from holdfast.operations.place import Absent, File

TRIXIE = Machine(distribution="debian", codename="trixie")
OWN = Choice(550, False, False, "", ("nvidia-kernel-dkms",))
VENDOR = Choice(580, True, False, "debian13", ("nvidia-driver-cuda",))
DEB822 = """Types: deb deb-src
URIs: http://mirror.test/debian
Suites: trixie trixie-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# another
Types: deb
URIs: http://mirror.test/security
Suites: trixie-security
Components: main contrib non-free non-free-firmware
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Enabled: no
Types: deb
URIs: http://off.test/
Suites: trixie
Components: main
"""
LINES = """# deb http://comment.test/debian trixie main
deb [arch=amd64 signed-by=/k.gpg] http://old.test/debian trixie main # remark
deb-src http://old.test/debian trixie main
deb http://old.test/debian trixie-backports main
"""


def apt(tmp_path: Path, **files: str) -> dict[str, Any]:
    folder = tmp_path / "apt"
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (folder / "sources.list.d" / name.replace("_", ".")).write_text(text)
    found: dict[str, Any] = read_sources(str(folder))
    return found


def test_components_come_from_the_same_mirrors(tmp_path: Path) -> None:
    found = apt(tmp_path, debian_sources=DEB822, old_list=LINES)
    assert [e["uris"] for e in found["sources"]] == [
        "http://mirror.test/debian", "http://mirror.test/security", "http://old.test/debian", "http://old.test/debian"
    ]  # fmt: skip
    text = sources.components(found, TRIXIE)
    stanzas = [
        dict(line.split(": ") for line in s.splitlines() if ": " in line and s)
        for s in text.split("\n\n")
        if "URIs" in s
    ]
    got = [(s["URIs"], s["Suites"], s["Components"], s.get("Signed-By", "")) for s in stanzas]
    debian = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert got == [
        ("http://mirror.test/debian", "trixie", "contrib non-free", debian),
        ("http://mirror.test/debian", "trixie-updates", "contrib non-free", debian),
        ("http://old.test/debian", "trixie", "contrib non-free non-free-firmware", "/k.gpg"),
    ]
    # Written once, it is no reason to write anything else the next time.
    again = {
        "sources": [
            *found["sources"],
            {**found["sources"][0], "file": sources.COMPONENTS, "components": "contrib non-free"},
        ]
    }
    assert sources.components(again, TRIXIE) == text


def test_nothing_is_added_where_all_of_it_is_asked_for(tmp_path: Path) -> None:
    whole = DEB822.replace("main non-free-firmware", "main contrib non-free non-free-firmware")
    assert sources.components(apt(tmp_path, debian_sources=whole), TRIXIE) == ""


def test_the_vendors_repository_is_pinned_signed_and_alone(tmp_path: Path) -> None:
    entries = {e.path: e for e in sources.files(apt(tmp_path, debian_sources=DEB822), TRIXIE, VENDOR)}
    source, pins = entries[sources.SOURCE], entries[sources.PREFERENCES]
    assert isinstance(source, File) and isinstance(pins, File)
    assert list(entries).index(sources.PREFERENCES) < list(entries).index(sources.SOURCE)
    assert f"Signed-By: {sources.KEYRING}" in str(source.content) and "/debian13/x86_64/" in str(source.content)
    assert "Pin: version 580.*" in str(
        pins.content
    ) and 'Package: *\nPin: origin "developer.download.nvidia.com"' in str(pins.content)
    left = {e.path for e in sources.files(apt(tmp_path / "own"), TRIXIE, OWN) if isinstance(e, Absent)}
    assert left == {sources.COMPONENTS, sources.SOURCE, sources.PREFERENCES, sources.KEYRING}


def test_a_second_file_for_the_same_repository_is_refused(tmp_path: Path) -> None:
    line = f"deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] {sources.uri('debian13')} /\n"
    found = apt(tmp_path, cuda_list=line, debian_sources=DEB822)
    with pytest.raises(HoldfastError, match="knows NVIDIA's repository already") as error:
        sources.files(found, TRIXIE, VENDOR)
    assert "cuda.list" in error.value.fix
    assert sources.files(found, TRIXIE, OWN)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(a key in armor, its fingerprint as GnuPG says it)"""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-generate-key", "somebody", "rsa2048", "sign", "never"], check=True, capture_output=True
    )
    listed = subprocess.run([*gpg, "--with-colons", "--fingerprint"], check=True, capture_output=True, text=True).stdout
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    # A subkey is no second key.
    subprocess.run([*gpg, "--quick-add-key", fingerprint, "rsa2048", "encr", "never"], check=True, capture_output=True)
    armor = home / "key.pub"
    armor.write_bytes(subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    return armor, fingerprint


def test_only_the_key_with_the_whole_fingerprint_is_taken(signed: tuple[Path, str], tmp_path: Path) -> None:
    armor, fingerprint = signed
    ring = tmp_path / "keyrings" / "k.gpg"
    for wrong in ("0" * 40, fingerprint[:-1] + ("1" if fingerprint[-1] == "0" else "0"), fingerprint[-16:]):
        with pytest.raises(SystemExit, match=f"is key {fingerprint}, not"):
            keyring(str(ring), armor.as_uri(), wrong)
        assert not ring.exists()
    assert keyring(str(ring), "", fingerprint) is False
    assert keyring(str(ring), armor.as_uri(), fingerprint) is True
    assert keyring(str(ring), "", fingerprint) is True and keyring(str(ring), "", "0" * 40) is False
    ring.chmod(0o666)
    assert keyring(str(ring), "", fingerprint) is False


@pytest.mark.parametrize("harm", ["cut", "two", "html", "empty"])
def test_what_is_no_key_or_more_than_one(harm: str, signed: tuple[Path, str], tmp_path: Path) -> None:
    armor, fingerprint = signed
    keyring(str(tmp_path / "good.gpg"), armor.as_uri(), fingerprint)
    good = (tmp_path / "good.gpg").read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes({"cut": good[:100], "two": good + good, "html": b"<html>404</html>", "empty": b""}[harm])
    with pytest.raises(SystemExit):
        keyring(str(tmp_path / "ring.gpg"), bad.as_uri(), fingerprint)
    assert not (tmp_path / "ring.gpg").exists()


def test_pinned_fingerprints_are_whole() -> None:
    for key in sources.KEYS.values():
        assert len(key.fingerprint) == 40 and key.fingerprint.lower().endswith(key.file.removesuffix(".pub").lower())
