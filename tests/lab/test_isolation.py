"""Nothing of this computer is open to the lab, and nothing of the lab to this computer but its ssh_config.

Beside each "cannot reach" stands the same probe reaching something that is there.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.lab.probe import PROBE, probe
from tests.waiting import until

from holdfast.lab import Lab
from holdfast.lab.network import computer_addresses

GREETING = "a service of this computer"
SLIRP_HOST = "10.0.2.2"  # what user-mode networks usually translate to the computer's loopback
SEES = ("workstation", "neighbour", "phone", "laptop", "control", "router")


@contextmanager
def listening(address: str) -> Iterator[int]:
    """A server in this computer's own network that greets everyone; yields its port."""
    with socket.create_server((address, 0)) as server:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        client.sendall(GREETING.encode())
                        time.sleep(0.2)

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]


def is_closed(lab: Lab, node: str, address: str, port: int) -> bool:
    """Within a second: everything here is on one computer, and each of these has just reached something else."""
    return probe(lab, node, address, port, 1).startswith("closed")


def from_here(address: str, port: int, seconds: float = 5) -> str:
    argv = ["python3", "-", address, str(port), str(seconds)]
    return subprocess.run(argv, input=PROBE, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.parametrize("node", SEES)
def test_this_computers_loopback_is_closed_to_the_lab(lab: Lab, node: str) -> None:
    with listening("127.0.0.1") as port:
        assert GREETING in from_here("127.0.0.1", port), "the listener answers here"
        assert "HTTP" in probe(lab, node, "10.99.0.2", 8000), "the probe sees a server of the lab"
        for address in ("127.0.0.1", SLIRP_HOST):
            assert is_closed(lab, node, address, port)


@pytest.mark.parametrize("node", SEES)
def test_services_on_all_interfaces_of_this_computer_are_closed_to_the_lab(lab: Lab, node: str) -> None:
    addresses = computer_addresses()
    assert addresses
    with listening("0.0.0.0") as port:
        for address in addresses:
            assert GREETING in from_here(address, port)
            assert is_closed(lab, node, address, port)


def test_the_loopback_probe_would_see_an_open_door() -> None:
    """The same probe in a network made without --disable-host-loopback does reach the listener."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    time.sleep(0.3)
    uplink = subprocess.Popen(
        ["slirp4netns", "--configure", str(holder.pid), "tap0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with listening("127.0.0.1") as port:
            inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "python3", "-", SLIRP_HOST, str(port), "3"]

            def said() -> str:
                return subprocess.run(inside, input=PROBE, capture_output=True, text=True, timeout=30, check=True).stdout

            until(lambda: GREETING in said(), "the listener answers", 30)
    finally:
        for process in (uplink, holder):
            process.kill()
            process.wait(10)


@pytest.mark.parametrize(
    ("address", "port", "banner"),
    [
        ("10.77.0.1", 22, "SSH-2.0"),
        ("fd77::1", 22, "SSH-2.0"),
        ("10.99.0.2", 8000, "Python/3"),
        ("10.99.0.2", 5000, "Python/3"),
    ],
)
def test_the_lab_is_closed_to_this_computer(lab: Lab, address: str, port: int, banner: str) -> None:
    """By its banner and not by the connection: a transparent proxy on the way out may take any connection."""
    assert banner in probe(lab, "router", address, port), "the probe sees it from within"
    assert banner not in from_here(address, port, 1)


@pytest.mark.parametrize("address", ["10.77.0.1", "fd77::1", "fe80::ff:fe77:1%eth0"])
def test_the_neighbour_reaches_the_workstations_lan_addresses(lab: Lab, address: str) -> None:
    assert "SSH-2.0" in probe(lab, "neighbour", address, 22)


@pytest.mark.parametrize("node", ["phone", "laptop", "control"])
def test_the_lan_is_closed_to_whoever_is_outside(lab: Lab, node: str) -> None:
    """As behind a home router: only the tailnet leads from the phone to the workstation."""
    assert "HTTP" in probe(lab, node, "10.99.0.2", 8000)
    assert is_closed(lab, node, "10.77.0.1", 22)


def test_no_process_of_the_lab_listens_in_this_computers_network(lab: Lab) -> None:
    listeners = subprocess.run(["ss", "-Hlntup"], capture_output=True, text=True, check=True).stdout
    ours = {str(p.pid) for p in lab.state().processes}
    assert not [line for line in listeners.splitlines() if any(f"pid={pid}," in line for pid in ours)]
    inside = lab.run_in("control", ["ss", "-Hlntup"]).stdout
    assert [line for line in inside.splitlines() if any(f"pid={pid}," in line for pid in ours)], "ss shows pids"
