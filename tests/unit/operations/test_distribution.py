"""A derivative takes the packages of what it derives from; what is neither keeps its own names."""

from __future__ import annotations

import pytest

from holdfast.operations.distribution import distribution


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, ("debian", "trixie")),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble", "UBUNTU_CODENAME": "noble"}, ("ubuntu", "noble")),
        ({"ID": "linuxmint", "VERSION_CODENAME": "zara", "UBUNTU_CODENAME": "noble"}, ("ubuntu", "noble")),
        ({"ID": "linuxmint", "VERSION_CODENAME": "faye", "DEBIAN_CODENAME": "bookworm"}, ("debian", "bookworm")),
        ({"ID": "fedora", "UBUNTU_CODENAME": ""}, ("fedora", "")),
        ({}, ("", "")),
    ],
)
def test_distribution(release: dict[str, str], expected: tuple[str, str]) -> None:
    assert distribution(release) == expected
