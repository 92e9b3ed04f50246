from __future__ import annotations

import json

import pytest

from holdfast import depot
from holdfast.depot import record
from holdfast.errors import HoldfastError

SHA = "ab" * 32


def test_vendor_address_with_the_locked_hash(lab, vendor) -> None:
    lab.pin(7, SHA)
    a = depot.resolve("tool", "")
    assert (a.url, a.size, a.sha256, a.origin, a.filename) == (f"{vendor.url}/v1.2/tool", 7, SHA, "release", "tool")


def test_unverified_release_is_refused(lab) -> None:
    with pytest.raises(HoldfastError) as e:
        depot.resolve("tool", "")
    assert "unverified" in e.value.render()
    assert "Fix: ./holdfast depot update tool" in e.value.render()


def test_vendor_address_does_not_use_what_was_built_here(lab) -> None:
    depot.fetch(["tool"])
    assert depot.resolve("tool", "http://d").origin == "built here"
    with pytest.raises(HoldfastError):
        depot.resolve("tool", "")


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000/tool/1.2/tool"),
        ("https://nas.home/depot/", "https://nas.home/depot/tool/1.2/tool"),
        ("/mnt/my disk/depot/", "file:///mnt/my%20disk/depot/tool/1.2/tool"),
        ("file:///mnt/depot", "file:///mnt/depot/tool/1.2/tool"),
    ],
)
def test_depot_is_a_prefix(lab, prefix: str, url: str) -> None:
    lab.pin(7, SHA)
    a = depot.resolve("tool", prefix)
    assert (a.url, a.sha256, a.origin) == (url, SHA, "release")


@pytest.mark.parametrize("bad", ["relative/path", "ftp://x/y", "nas.home:80"])
def test_depot_must_be_url_or_absolute_path(lab, bad: str) -> None:
    with pytest.raises(HoldfastError) as e:
        depot.resolve("tool", bad)
    assert e.value.code == 2 and bad in e.value.render()


def test_built_here_is_trusted_from_the_record_not_from_the_depot(lab) -> None:
    made = depot.fetch(["tool"])["tool"]
    (record.root() / "tool/1.2/tool").write_bytes(b"something else, served by somebody")
    assert depot.resolve("tool", "http://d").sha256 == made.sha256
    record.record_file().unlink()
    with pytest.raises(HoldfastError, match="does not know its hash") as e:
        depot.resolve("tool", "http://d")
    assert "Fix: ./holdfast depot fetch tool" in e.value.render()


def test_record_of_another_version_is_not_used(lab) -> None:
    depot.fetch(["tool"])
    lab.lock.write_text(lab.lock.read_text().replace('"1.2"', '"1.3"'))
    with pytest.raises(HoldfastError, match=r"has 1\.2"):
        depot.resolve("tool", "http://d")


APT = """
  pkg:
    version: "2.0"
    url: https://vendor.invalid/stable/debian/pool/pkg_{version}_amd64.deb
    file: apt/pkg/pool/pkg_{version}_amd64.deb
    size: unverified
    sha256: unverified
    licence: MIT
    builder: tool
    suites: [bookworm, trixie]
  pkg-keyring:
    version: "1"
    url: https://vendor.invalid/stable/{distro}/{codename}.noarmor.gpg
    size: KEYSIZE
    sha256: KEYSHA
    licence: MIT
"""


def _with_apt(lab, size: str = "unverified", sha: str = "unverified") -> None:
    lab.lock.write_text(lab.lock.read_text() + APT.replace("KEYSIZE", size).replace("KEYSHA", sha))


def test_apt_from_the_vendor(lab) -> None:
    _with_apt(lab, "9", SHA)
    s = depot.resolve_apt("pkg", "", "ubuntu", "noble")
    assert (s.uri, s.suite, s.components) == ("https://vendor.invalid/stable/ubuntu", "noble", "main")
    assert (s.keyring.url, s.keyring.sha256) == ("https://vendor.invalid/stable/ubuntu/noble.noarmor.gpg", SHA)
    assert (s.version, s.origin) == ("2.0", "release")


def test_apt_from_the_vendor_needs_a_known_key(lab) -> None:
    _with_apt(lab)
    with pytest.raises(HoldfastError) as e:
        depot.resolve_apt("pkg", "", "debian", "bookworm")
    assert "depot update pkg-keyring" in e.value.render()


def test_apt_from_a_depot(lab) -> None:
    _with_apt(lab)
    key = {"apt/pkg/keyring.gpg": [5, SHA]}
    file = "apt/pkg/pool/pkg_2.0_amd64.deb"
    entry = {
        "name": "pkg",
        "version": "2.0",
        "origin": "built here",
        "inputs": "",
        "file": file,
        "size": 1,
        "sha256": SHA,
    }
    record.record_file().parent.mkdir(parents=True, exist_ok=True)
    record.record_file().write_text(json.dumps({"pkg": entry | {"also": key}}))
    s = depot.resolve_apt("pkg", "http://d:1/", "debian", "trixie")
    assert (s.uri, s.suite, s.origin) == ("http://d:1/apt/pkg", "trixie", "built here")
    assert (s.keyring.url, s.keyring.size, s.keyring.sha256) == ("http://d:1/apt/pkg/keyring.gpg", 5, SHA)
    assert depot.resolve_apt("pkg", "/mnt/d", "debian", "trixie").uri == "file:///mnt/d/apt/pkg"
    with pytest.raises(HoldfastError) as e:
        depot.resolve_apt("pkg", "http://d", "debian", "sid")
    assert "bookworm, trixie" in e.value.render()
