"""The tailnet as it really is: who reaches what, and where the join key is not.

Beside each "cannot" stands the same probe on something that it can.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.probe import probe
from tests.waiting import until

from holdfast.components.tailscale.operations import command_line
from holdfast.components.tailscale.steps import Run, Want, join
from holdfast.lab import Lab

# No door of Open WebUI's or of a model's may be open but the one that `tailscale serve` opens.
CLOSED = (11434, 11435, 8080)
WATCH = Path(__file__).with_name("argv_watch.py")


def get(machine: Lab, node: str, url: str) -> tuple[str, str]:
    """(HTTP status, body) of ``url`` as seen from ``node``; status 000: no answer."""
    done = machine.run_in(node, ["curl", "-sS", "--noproxy", "*", "-m", "10", "-w", "\n%{http_code}", url])
    body, _, status = done.stdout.rpartition("\n")
    return status, body


def asked(machine: Lab, *words: str) -> Any:
    """The JSON that tailscale on the workstation prints."""
    done = machine.ssh(["sudo", "tailscale", *words])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def status(workstation: Lab) -> dict[str, Any]:
    found: dict[str, Any] = asked(workstation, "status", "--json", "--peers=false")
    return found


@pytest.fixture(scope="module")
def name(status: dict[str, Any]) -> str:
    full: str = status["Self"]["DNSName"]
    return full.rstrip(".")


def test_the_node_is_online(workstation: Lab, status: dict[str, Any], name: str) -> None:
    assert status["BackendState"] == "Running" and status["Self"]["Online"] is True and status["TUN"] is True
    assert name == workstation.state().tailnet["name"]
    # And not only by its own word: the phone sees it, and its packets arrive.
    peers = {peer["DNSName"].rstrip("."): peer for peer in workstation.member("phone").status()["Peer"].values()}
    assert peers[name]["Online"] is True
    assert peers[name]["Tags"] == ["tag:gpu"]
    # By address: the program runs here, where MagicDNS is not the resolver. The first packet may take the relay.
    assert (
        "pong"
        in workstation.member("phone").tailscale("ping", "--c=5", "--timeout=5s", status["TailscaleIPs"][0]).stdout
    )


def test_open_webui_from_the_phone(workstation: Lab, status: dict[str, Any], name: str) -> None:
    for host in (name, name.partition(".")[0]):
        code, body = get(workstation, "phone", f"http://{host}/")
        assert code == "200" and "Open WebUI" in body, (host, code, body[:200])
    assert get(workstation, "phone", f"http://{name}/ready")[0] == "200"
    # By its name alone: a page of someone else's that resolves to this address does not get through.
    assert get(workstation, "phone", f"http://{status['TailscaleIPs'][0]}/")[0] == "404"


@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "link_local"])
def test_nothing_of_it_from_the_lan(workstation: Lab, kind: str) -> None:
    address = workstation.state().lan[kind] + ("%eth0" if kind == "link_local" else "")
    assert "SSH-2.0" in probe(workstation, "neighbour", address, 22), "the probe sees an open port"
    found = {port: probe(workstation, "neighbour", address, port) for port in (80, 443, *CLOSED)}
    assert all(said.startswith("closed") for said in found.values()), found


def test_the_servers_are_there_to_be_reached(workstation: Lab) -> None:
    """The positive control of the closed ports: on the workstation itself each answers."""
    for port in CLOSED:
        said = probe(workstation, "workstation", "127.0.0.1", port)
        assert said.startswith("open") and "200" in said, (port, said)


def test_the_tailnet_has_no_other_door_to_them(workstation: Lab, status: dict[str, Any]) -> None:
    for address in status["TailscaleIPs"]:
        assert "SSH-2.0" in probe(workstation, "phone", address, 22), "the probe sees an open port"
        found = {port: probe(workstation, "phone", address, port) for port in (443, *CLOSED)}
        assert all(said.startswith("closed") for said in found.values()), found


def test_exactly_one_thing_is_published(workstation: Lab, name: str) -> None:
    assert asked(workstation, "serve", "status", "--json") == {
        "TCP": {"80": {"HTTP": True}},
        "Web": {f"{name}:80": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}},
    }


def test_no_funnel(workstation: Lab, status: dict[str, Any]) -> None:
    served = json.dumps(asked(workstation, "serve", "status", "--json"))
    # The control of this search: the published port is found by it.
    assert '"HTTP": true' in served and "Funnel" not in served
    granted = json.dumps(status["Self"].get("CapMap") or {})
    assert "disable-captive-portal-detection" in granted and "funnel" not in granted
    refused = workstation.ssh(["sudo", "tailscale", "funnel", "--bg", "8080"])
    assert refused.returncode != 0 and "Funnel not available" in refused.stdout + refused.stderr


def test_the_preferences_of_a_workstation(workstation: Lab) -> None:
    found = asked(workstation, "get", "--json")
    expected = {
        "ssh": False, "shields-up": False, "accept-routes": False, "advertise-routes": "", "advertise-exit-node": False,
        "advertise-connector": False, "exit-node": "", "webclient": False, "relay-server-port": "", "operator": "",
        "report-posture": False, "auto-update": False, "netfilter-mode": "on", "accept-dns": False,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected


def test_its_logs_stay_at_home(workstation: Lab) -> None:
    pid = workstation.ssh(["systemctl", "show", "-p", "MainPID", "--value", "tailscaled"]).stdout.strip()
    environment = workstation.ssh(["sudo", "cat", f"/proc/{pid}/environ"]).stdout.split("\0")
    assert "TS_NO_LOGS_NO_SUPPORT=true" in environment


SEARCH = "/etc /home /root /run /tmp /var/cache/holdfast /var/lib /var/log /var/tmp /usr/local"
# Two inputs, words and journal: the words wait in an unlinked file in memory.
IN_JOURNAL = (
    "f=$(mktemp -p /dev/shm); cat >$f; exec 3<$f; rm $f; "
    "sudo journalctl --no-pager -a -o export </dev/null | grep -caF -f /dev/fd/3; true"
)
PLANTED = "hskey-auth-planted-by-this-test"


@pytest.fixture
def planted(workstation: Lab) -> Iterator[str]:
    """The control of the search: a word like a key, in a file deep down and in the journal."""
    path = "/var/lib/tailscale/holdfast-test-planted"
    workstation.ssh(["sudo", "tee", path], input=PLANTED + "\n")
    workstation.ssh(["logger", "-t", "holdfast-test"], input=f"it says {PLANTED}\n")
    yield path
    workstation.ssh(["sudo", "rm", "-f", path])


def test_the_key_is_nowhere_on_the_machine(workstation: Lab, planted: str) -> None:
    """In no file, no journal, no argv and no environment. The words go in by stdin: in an argv they would find themselves."""
    key = Path(workstation.site()["tailscale"]["auth_key"]["file"]).read_text().strip()
    assert key.startswith("hskey-auth-") and len(key) > 40
    files = f"sudo grep -rlaF -f - --devices=skip {SEARCH} 2>/dev/null"
    assert planted in workstation.ssh([files], input=f"{PLANTED}\n", timeout=300).stdout.split()
    assert workstation.ssh([files], input=f"{key}\n", timeout=300).stdout == ""
    journal = f"bash -c {shlex.quote(IN_JOURNAL)}"
    assert int(workstation.ssh([journal], input=f"{PLANTED}\n", timeout=300).stdout) >= 1
    assert int(workstation.ssh([journal], input=f"{key}\n", timeout=300).stdout) == 0
    processes = "sudo sh -c 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null'"
    running = workstation.ssh([processes]).stdout
    assert "tailscaled" in running and key not in running


def test_the_key_is_in_no_argv_while_joining(workstation: Lab) -> None:
    """The component's own command against a daemon that has nobody to join, while another process watches every argv."""
    cli = ("tailscale", "--socket=/run/holdfast-test-tailscaled/sock")
    want = Want(login_server="http://127.0.0.1:9", timeout_s=2)
    step = join(want)
    assert isinstance(step, Run) and step.key
    call = f"sudo python3 - {shlex.quote(command_line(step, cli))}"
    done = workstation.ssh([call], input=WATCH.read_text(), timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["watched"] > 10, "the watcher was awake"
    assert seen["by_stdin"] == [], "the key stood in an argv or an environment"
    assert any("up" in line for line in seen["by_argv"]), "the watcher sees a key in an argv where there is one"


def test_a_restarted_daemon_comes_back_by_itself(workstation: Lab, name: str) -> None:
    assert workstation.ssh(["sudo", "systemctl", "restart", "tailscaled"]).returncode == 0
    until(lambda: get(workstation, "phone", f"http://{name}/ready")[0] == "200", "/ready from the phone")


def test_the_key_file_here_is_for_its_owner_alone(workstation: Lab) -> None:
    file = workstation.site()["tailscale"]["auth_key"]["file"]
    done = subprocess.run(["stat", "-c", "%a", file], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "600"
