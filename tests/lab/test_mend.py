"""`up` of a machine that lives: who logged out of the tailnet is let in again."""

from __future__ import annotations

import time
from typing import Any

from tests.waiting import until

from holdfast import depot
from holdfast.lab import Lab
from holdfast.lab.control import Control


def state(lab: Lab, node: str) -> str:
    return str(lab.member(node).status()["BackendState"])


def test_phone_and_workstation_come_back_after_a_logout(workstation: Any) -> None:
    lab: Lab = workstation
    control = Control(lab.layout, lab.state().nonce, depot.path("headscale"))
    lab.member("phone").tailscale("logout")
    workstation.root("tailscale logout")
    workstation.settled = False
    until(lambda: sorted(control.logged_out()) == sorted(["phone", lab.name]), "the control server knows of no logout", 30)
    assert (state(lab, "phone"), state(lab, "laptop")) == ("NeedsLogin", "Running")
    before = time.time()
    lab.up()
    assert control.logged_out() == []
    assert (state(lab, "phone"), state(lab, "laptop")) == ("Running", "Running")
    assert lab.joined()["ipv4"] == "", "the workstation is forgotten until its next apply"
    assert "Join the tailnet" in " ".join(workstation.apply().changed)
    assert lab.joined()["ipv4"]
    # Nobody else had to join again.
    assert [node["given_name"] for node in control.nodes() if node["created_at"]["seconds"] < before] == ["laptop"]
    # A rejoined tailscaled goes on listening on the address that it had before, until it is restarted (seen with 1.102.5).
    workstation.root("systemctl restart tailscaled")
    until(lambda: workstation.apply().changed == [], "it does not settle", 120)
