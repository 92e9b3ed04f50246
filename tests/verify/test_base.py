"""The base: packages, trusted authorities, the programs on the machine, uv; and that secrets stay secret."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.verify.locks import ROOT, locked
from tests.verify.machine import Machine, Shape

ONHOST = "/usr/local/lib/holdfast/holdfast_onhost"
# Where update-ca-certificates takes them from, and where it links them to.
AUTHORITIES = ("/usr/local/share/ca-certificates", "/etc/ssl/certs")
OURS = ("/etc/holdfast", "/usr/local/lib/holdfast", "/opt/holdfast", "/opt/ollama", "/opt/open-webui", "/opt/aider")


def test_packages_are_installed(machine: Machine) -> None:
    done = machine.sh("dpkg-query -W -f '${Package} ${db:Status-Status}\\n' python3 ca-certificates curl zstd git")
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.split()[1:] == ["installed"]}
    assert installed == {"python3", "ca-certificates", "curl", "zstd", "git"}


def test_programs_on_the_machine_are_those_of_this_checkout(files: Callable[..., dict[str, Any]]) -> None:
    here = ROOT / "src" / "holdfast_onhost"
    ours = {str(p.relative_to(here)): hashlib.sha256(p.read_bytes()).hexdigest() for p in here.rglob("*.py")}
    assert len(ours) > 5, f"the reader of {here} is blind"
    found = files(ONHOST, hashes=True, below=True)
    programs = {p: e for p, e in found.items() if e and e["kind"] == "file" and p.endswith(".py")}
    theirs = {str(Path(p).relative_to(ONHOST)): e["sha256"] for p, e in programs.items()}
    assert theirs == ours


@pytest.mark.promise("What runs on your machine can be changed by root only")
def test_nobody_but_root_can_change_what_we_installed(machine: Machine) -> None:
    find = "find %s ! -type l \\( -perm /022 -o ! -user root \\) 2>/dev/null | head -n 20"
    # The positive control: the same search finds a file that anybody may write.
    control = machine.sh(
        "d=$(mktemp -d /run/holdfast-verify.XXXXXX) && touch $d/open && chmod 666 $d/open && " + find % "$d" + "; rm -rf $d"
    )
    assert control.stdout.strip().endswith("/open"), "the search is blind"
    found = machine.sh(find % " ".join(OURS)).stdout.split()
    assert not found, f"not root's alone: {found}"


def test_uv_is_as_pinned(machine: Machine) -> None:
    done = machine.sh("/opt/holdfast/uv/bin/uv --version")
    assert done.stdout.split()[1:2] == [locked("uv", "uv")], done.stdout + done.stderr


def test_declared_authorities_are_trusted(machine: Machine, shape: Shape) -> None:
    if not shape.authorities:
        pytest.skip("the settings declare no authorities (base.ca_certificates)")
    line = (
        "import hashlib,json,ssl;"
        "print(json.dumps([hashlib.sha256(c).hexdigest() for c in ssl.create_default_context().get_ca_certs(True)]))"
    )
    trusted = set(json.loads(machine.sh("/usr/bin/python3 -I -c %s", line).stdout))
    assert len(trusted) > 20, "the reader of the trusted authorities is blind"
    for file in shape.authorities:
        der = ssl.PEM_cert_to_DER_cert(Path(file).expanduser().read_text())
        assert hashlib.sha256(der).hexdigest() in trusted, f"{file} is not trusted on the machine"


@pytest.mark.promise("An authority that you no longer declare is trusted no longer")
def test_no_other_authority_of_ours_is_left(machine: Machine, shape: Shape) -> None:
    # The positive control: the same search finds a certificate that the machine came with, under a name like ours.
    copy = "cp -L \"$(ls /etc/ssl/certs/*.pem | head -n 1)\" $d/holdfast-control.crt"
    folder = machine.sh(f"d=$(mktemp -d /run/holdfast-verify.XXXXXX) && {copy}; echo $d").stdout.strip()
    try:
        found = machine.look("authorities", folders=[folder, *AUTHORITIES])
    finally:
        machine.sh("rm -rf %s", folder)
    assert len(found.pop(f"{folder}/holdfast-control.crt", "")) == 64, "the search is blind"
    pems = [Path(file).expanduser().read_text() for file in shape.authorities]
    declared = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() for pem in pems}
    left = sorted(path for path, fingerprint in found.items() if fingerprint not in declared)
    assert not left, f"authorities that hosts.yml does not declare (base.ca_certificates): {left}"


@pytest.mark.promise("Secrets are in no file, argument, unit or log that other users can read")
def test_secrets_are_nowhere_to_be_read(machine: Machine) -> None:
    found = machine.look("secrets")
    wanted = ["arguments", "file", "join key", "journal", "properties of units"]
    assert found["planted_seen_in"] == wanted, "the search does not see what was planted for it"
    assert found["known"] == ["/etc/holdfast/open-webui/admin-password", "/etc/holdfast/open-webui/secret.env"]
    leaks = {name: places for name, places in found["found"].items() if places}
    assert not leaks, f"secrets that others can read: {leaks}"
