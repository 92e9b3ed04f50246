from __future__ import annotations

from ipaddress import ip_address

import pytest

from holdfast.errors import HoldfastError
from holdfast.lab import layout as at
from holdfast.lab.layout import Layout


@pytest.mark.parametrize("name", ["", "Lab", "a b", "../x", "lab-1", "x" * 13, "1lab", "ä"])
def test_names_that_could_not_be_in_a_path_or_a_namespace_are_refused(name: str) -> None:
    with pytest.raises(HoldfastError) as error:
        Layout(name)
    assert "Fix:" in str(error.value)


def test_everything_carries_the_labs_name() -> None:
    one, two = Layout("lab"), Layout("test")
    assert not set(one.namespaces.values()) & set(two.namespaces.values())
    assert one.netns("workstation") == "hf-lab-ws"
    assert one.cgroup != two.cgroup
    assert one.sockets != two.sockets


def test_an_unknown_node_is_named_with_those_that_exist() -> None:
    with pytest.raises(HoldfastError, match="fridge") as error:
        Layout("lab").netns("fridge")
    assert "neighbour" in str(error.value)


def test_the_link_local_address_follows_from_the_mac_address() -> None:
    """RFC 4291 appendix A: invert the universal bit, insert ff:fe in the middle."""
    mac = [int(part, 16) for part in at.WORKSTATION_MAC.split(":")]
    words = bytes([0xFE, 0x80, *[0] * 6, mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]])
    assert ip_address(at.WORKSTATION_LINK_LOCAL) == ip_address(words)


def test_the_control_sockets_path_leaves_room_for_what_ssh_appends() -> None:
    """sun_path holds 107 bytes; %C is a SHA-1 in hexadecimal (ssh_config(5)), ssh appends a dot and 16 characters."""
    assert len(str(Layout("x" * 12).sockets)) + 1 + 40 + 17 <= 107
