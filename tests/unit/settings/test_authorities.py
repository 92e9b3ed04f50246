"""Authorities of one's own: what is no PEM file is refused before anything is connected, by load and by plain pyinfra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.errors import SettingsError
from holdfast.settings.authorities import certificates
from holdfast.settings.inventory import groups
from holdfast.settings.loader import load

PEM = b"-----BEGIN CERTIFICATE-----\naG9sZGZhc3Q=\n-----END CERTIFICATE-----\n"


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes hosts.yml with these files as authorities; gives their settings."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))

    def write(*paths: Path | str) -> None:
        block = {"profile": "cpu", "login_user": "ada", "base": {"ca_certificates": [str(path) for path in paths]}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"gpu-box": block}))

    return write


def file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_pem_file_is_taken(declared: Any, tmp_path: Path) -> None:
    declared(file(tmp_path / "home.pem", PEM))
    assert list(certificates(load("gpu-box")).values()) == [PEM.decode()]
    assert groups()["cpu"] == ["gpu-box"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"\x30\x82\x03\x97\xff", "openssl x509 -inform der"),
        (b"hello\n", "no certificate"),
        (PEM + b"-----BEGIN RSA PRIV" + b"ATE KEY-----\n", "private key"),
    ],
)
def test_anything_else_is_refused_by_the_loader(content: bytes | None, words: str, declared: Any, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        file(path, content)
    declared(path)
    for judge in (lambda: load("gpu-box"), groups):
        with pytest.raises(SettingsError) as caught:
            judge()
        assert words in caught.value.render() and "gpu-box.base.ca_certificates" in caught.value.render()
        assert caught.value.code == 2


@pytest.mark.parametrize("path", ["~nobody-at-all/ca.pem", "a\0b"])
def test_a_name_that_can_be_no_file(path: str, declared: Any) -> None:
    declared(path)
    with pytest.raises(SettingsError):
        load("gpu-box")


def test_two_files_of_one_name_are_two_authorities(declared: Any, tmp_path: Path) -> None:
    declared(file(tmp_path / "a" / "ca.pem", PEM), file(tmp_path / "b" / "ca.pem", PEM.replace(b"aG9", b"bG9")))
    assert len(certificates(load("gpu-box"))) == 2
