"""Which key has signed the modules, and whether the firmware lets it in: read from certificates and the firmware's lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import SECURE
from tests.unit.nvidia.trees import (
    CARDS,
    ENFORCED,
    ENROLLED,
    OLD,
    Files,
    N,
    boot,
    debian,
    headers,
    library,
    loaded,
    module,
    read,
    tree,
)

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.signing import enrol, unsigned

BUILT = "updates/dkms/nvidia.ko.xz"
OURS, THEIRS = "DKMS module signing key", "My own key"
MOK, PUB = "var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub"


def certificate(name: str, serial: bytes = b"1") -> bytes:
    """The parts of one that count: a number of its own, and its commonName as DER has it."""
    return b"\x30\x82" + serial + b"\x06\x03\x55\x04\x03\x0c" + bytes([len(name)]) + name.encode() + b"\x30"


def machine(signer: str, enrolled: bytes, files: Files) -> Files:
    """A driver that was updated under a loaded one: only the file's signature tells whether the new one will be let in."""
    return {
        **CARDS, **SECURE, **ENFORCED, **debian("bookworm"), **boot(OLD), **headers(OLD), **module(OLD, N, BUILT),
        f"lib/modules/{OLD}/{BUILT}.signer": signer, **library(N, ""), **loaded("580.82.07"), ENROLLED: b"\6\0\0\0" + enrolled,
        **files,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("signer", "enrolled", "files", "refused"),
    [
        # DKMS' mok_signing_key lies elsewhere: known by its name alone.
        (THEIRS, certificate(THEIRS), {}, False),
        (THEIRS, certificate(THEIRS), {PUB: certificate(OURS)}, False),
        (THEIRS, certificate(OURS), {}, True),
        (THEIRS, certificate(f"{THEIRS}s"), {}, True),
        (THEIRS, certificate("Not " + THEIRS), {}, True),
        (THEIRS, b"", {}, True),
        ("", certificate(""), {}, True),
        # Made anew, under the same name: the certificate says that it is another.
        (OURS, certificate(OURS, b"old"), {PUB: certificate(OURS, b"new")}, True),
        (OURS, certificate(OURS), {PUB: certificate(OURS)}, False),
        # What an earlier set-up has left beside the one that signs, with a name or without, enrolled or not.
        (OURS, certificate(OURS), {MOK: certificate("old box"), PUB: certificate(OURS)}, False),
        (OURS, certificate(OURS), {MOK: b"0\x82other", PUB: certificate(OURS)}, False),
        (OURS, b"0\x82unnamed", {MOK: b"0\x82other", PUB: b"0\x82unnamed"}, False),
        (OURS, certificate("old box"), {MOK: certificate("old box"), PUB: certificate(OURS)}, True),
    ],
)
def test_the_key_that_signed_is_the_one_that_counts(
    tmp_path: Path, signer: str, enrolled: bytes, files: Files, refused: bool
) -> None:
    there = read(tmp_path, machine(signer, enrolled, files))
    found = classify(there, {}, 550)
    assert unsigned(there, there.running) == refused
    assert (found.state == "needs_key") == refused, found


def test_the_file_that_a_person_is_to_enrol_is_the_one_that_signs(tmp_path: Path) -> None:
    files: Files = {MOK: certificate("old box"), PUB: certificate(OURS)}
    assert f"mokutil --import /{PUB} " in enrol(read(tmp_path / "pub", machine(OURS, b"", files)))
    assert f"mokutil --import /{MOK} " in enrol(read(tmp_path / "mok", machine("old box", b"", files)))


def test_a_set_up_of_a_persons_own_is_not_replaced(tmp_path: Path) -> None:
    fix = enrol(read(tmp_path / "theirs", machine(THEIRS, b"", {})))
    assert "generate_mok" not in fix and "dpkg-reconfigure" not in fix and f"CERTIFICATE (of '{THEIRS}'" in fix
    assert "generate_mok" in enrol(read(tmp_path / "ours", machine(OURS, b"", {})))


def test_a_recording_of_before_knows_the_file_alone(tmp_path: Path) -> None:
    found = read_machine(str(tree(tmp_path, machine(THEIRS, certificate(THEIRS), {}))))
    assert found.pop("known_signers") == [THEIRS]
    older = from_json(found)
    assert older.known_signers == () and unsigned(older, older.running)
