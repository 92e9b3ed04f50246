"""Which repository suits the machine, and what makes apt know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.components.tailscale import repository
from holdfast.depot import AptSource, Artifact
from holdfast.errors import HoldfastError

DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
SHA = "a" * 64
URL = "http://10.99.0.2:8000/apt/tailscale"
KEYRING = Artifact("tailscale-keyring", "1", f"{URL}/keyring.gpg", 1000, SHA, "built here", "keyring.gpg")
SOURCE = AptSource(URL, "bookworm", "main", KEYRING, "1.102.5", "built here")
TEXT = repository.source_text(SOURCE)
DONE: dict[str, Any] = {"release": DEBIAN, "keyring": SHA, "source": TEXT, "stale": [], "open": []}


@pytest.fixture(autouse=True)
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(repository, "resolve_apt", lambda *args: asked.append(args) or SOURCE)
    return asked


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (DEBIAN, ("debian", "bookworm")),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble", "UBUNTU_CODENAME": "noble"}, ("ubuntu", "noble")),
        ({"ID": "linuxmint", "VERSION_CODENAME": "wilma", "UBUNTU_CODENAME": "noble"}, ("ubuntu", "noble")),
        ({"ID": "linuxmint", "VERSION_CODENAME": "faye", "DEBIAN_CODENAME": "bookworm"}, ("debian", "bookworm")),
    ],
)
def test_distribution(release: dict[str, str], expected: tuple[str, str]) -> None:
    assert repository.served(release) == expected


@pytest.mark.parametrize("release", [{}, {"ID": "fedora", "VERSION_CODENAME": ""}, {"ID": "debian"}])
def test_another_distribution_is_refused(release: dict[str, str]) -> None:
    with pytest.raises(HoldfastError, match="no Tailscale packages"):
        repository.served(release)


def test_the_source_names_its_one_key() -> None:
    lines = TEXT.splitlines()
    assert lines[1:] == [
        "Types: deb", f"URIs: {URL}", "Suites: bookworm", "Components: main", f"Signed-By: {repository.KEYRING}"
    ]  # fmt: skip


def test_from_a_bare_machine(apply: Callable[..., Any], resolved: list[tuple[str, ...]]) -> None:
    found = {**DONE, "keyring": "", "source": None, "stale": list(repository.STALE)}
    out = apply(repository.repository, lambda fact: found, depot="http://10.99.0.2:8000")
    assert out.planned and out.changed and not out.failed
    fetch, remove, write = out.ran
    assert f"fetch.py {URL}/keyring.gpg 1000 {SHA} {repository.KEYRING}" in fetch[0]
    assert remove[0] == f"rm -f -- {repository.STALE[0]}"
    assert repository.SOURCE in write[1] and URL not in write[0]
    assert ("tailscale", "http://10.99.0.2:8000", "debian", "bookworm") in resolved


@pytest.mark.parametrize(
    ("found", "commands"),
    [
        ({}, 0),
        ({"keyring": "b" * 64}, 1),
        ({"source": TEXT + "x"}, 1),
        ({"stale": ["/a"]}, 1),
        ({"open": [repository.SOURCE]}, 1),
        ({"open": [repository.KEYRING]}, 1),
    ],
)
def test_only_what_differs(apply: Callable[..., Any], found: dict[str, Any], commands: int) -> None:
    out = apply(repository.repository, lambda fact: {**DONE, **found}, depot="")
    assert len(out.ran) == commands and out.changed == out.planned == bool(commands)


def test_without_python_it_is_a_change_to_come(apply: Callable[..., Any]) -> None:
    out = apply(repository.repository, lambda fact: None, depot="")
    assert out.planned and out.failed and not out.ran


def test_a_pin_that_nobody_has_verified(apply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unverified(*args: Any) -> AptSource:
        raise HoldfastError("the SHA-256 is unverified", fix="./holdfast depot update")

    monkeypatch.setattr(repository, "resolve_apt", unverified)
    out = apply(repository.repository, lambda fact: {**DONE, "source": None}, depot="")
    assert out.planned and out.failed and not out.ran and out.errors[0]["fix"] == "./holdfast depot update"
