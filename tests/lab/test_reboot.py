"""After a reboot the workstation is what it was, without anybody's help; an apply then finds nothing to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.waiting import until

BOOT_S = 180
UNITS = ("ollama@coder", "ollama@reasoner", "open-webui", "tailscaled")
PULLER = "holdfast-models.service"
# A download that is half done when the machine goes down: one model's file is gone, and comes slowly.
HALF = """
cd /var/lib/holdfast/models; cp -p /etc/holdfast/models.json /root/models.json
big=$(ls -S blobs | head -n 1); rm blobs/$big; part=.fetch/${big#sha256-}
sed -i 's/"limit": [0-9.]*/"limit": 1000000/' /etc/holdfast/models.json
systemctl start holdfast-models
until [ "$(stat -c %s $part 2>/dev/null || echo 0)" -ge 1000000 ]; do sleep 0.1; done
mv /root/models.json /etc/holdfast/models.json
stat -c %s $part
"""
# What makes a node of the tailnet the same node.
IDENTITY = ("ID", "PublicKey", "DNSName", "TailscaleIPs", "HostName", "Tags", "UserID")


def node(machine: Any) -> dict[str, Any]:
    done = machine.ssh(["tailscale", "status", "--json", "--peers=false"])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def active(machine: Any) -> bool:
    done = machine.ssh(["systemctl", "is-active", *UNITS])
    return bool(done.stdout.split() == ["active"] * len(UNITS))


def ready(machine: Any) -> bool:
    return bool(machine.ssh("curl -sf -m 5 -o /dev/null http://127.0.0.1:8080/ready").returncode == 0)


def from_phone(machine: Any, path: str) -> str:
    url = f"http://{machine.state().tailnet['name']}{path}"
    fetch = ["curl", "-s", "--noproxy", "*", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url]
    return str(machine.run_in("phone", fetch).stdout)


@pytest.fixture(scope="module")
def rebooted(workstation: Any) -> tuple[Any, dict[str, Any]]:
    """The machine after a reboot, and the node that it was before; nothing has been started by hand or by an apply."""
    before = node(workstation)
    assert "coder" in workstation.root("holdfast-gpu prefer coder --for 2h")
    assert workstation.state().models["reasoner"] in workstation.says("reasoner")
    assert '"reasoner"' in workstation.ssh(["cat", "/run/holdfast/lease/left.holder"]).stdout, "somebody holds a lease"
    before["fetched"] = int(workstation.root(HALF))
    boot = workstation.ssh(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
    assert workstation.reboot() != boot
    return workstation, before


def test_every_unit_is_active_by_itself(rebooted: Any) -> None:
    machine, _ = rebooted
    until(lambda: active(machine), "the units are active", BOOT_S)
    assert machine.ssh("systemctl list-units --failed --no-legend --plain").stdout == ""
    assert machine.ssh(["systemctl", "show", "-p", "NRestarts", "--value", *UNITS]).stdout.split() == ["0"] * len(UNITS)


def test_it_is_the_same_node(rebooted: Any) -> None:
    machine, before = rebooted
    until(lambda: node(machine)["BackendState"] == "Running", "the node is in the tailnet", BOOT_S)
    after = node(machine)["Self"]
    assert {key: after[key] for key in IDENTITY} == {key: before["Self"][key] for key in IDENTITY}
    assert after["TailscaleIPs"] and after["PublicKey"], "there is something to compare"
    # And by the control server's word: not a second node beside the first.
    assert machine.joined()["ipv4"] in after["TailscaleIPs"]


def test_a_download_goes_on_where_it_was(rebooted: Any) -> None:
    """By itself, and to the byte: a shutdown lets the puller put on the disk what it has."""
    machine, before = rebooted
    until(lambda: '"event": "done"' in machine.root(f"journalctl -b -u {PULLER} -o cat"), "the puller is done", BOOT_S)
    said = machine.root(f"journalctl -b -u {PULLER} -o cat").splitlines()
    (done,) = [json.loads(line) for line in said if line.startswith('{"event": "done"')]
    assert before["fetched"] <= done["resumed_at"] < done["bytes"], said


def test_nobody_holds_a_lease_of_before(rebooted: Any) -> None:
    machine, _ = rebooted
    until(lambda: active(machine), "the units are active", BOOT_S)
    done = machine.ssh(["holdfast-gpu", "status", "--json"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["prefer"] is None and [g for g in found["gpus"] if g["holder"] or g["waiting"]] == [], found


@pytest.mark.parametrize("role", ["coder", "reasoner"])
def test_each_model_answers_its_sentence(rebooted: Any, role: str) -> None:
    machine, _ = rebooted
    until(lambda: active(machine), "the units are active", BOOT_S)
    assert machine.state().models[role] in machine.says(role)


def test_open_webui_answers_here_and_on_the_phone(rebooted: Any) -> None:
    machine, _ = rebooted
    until(lambda: ready(machine), "/ready", BOOT_S)
    until(lambda: from_phone(machine, "/ready") == "200", "/ready from the phone", BOOT_S)
    # The control: not every address there answers 200.
    assert from_phone(machine, "/api/models") in ("401", "403")


def test_an_apply_finds_nothing_to_do(rebooted: Any) -> None:
    machine, _ = rebooted
    until(lambda: ready(machine), "/ready", BOOT_S)
    assert machine.apply().changed == []
