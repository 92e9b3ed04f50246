"""The tailnet: the node is online and plain, publishes Open WebUI and nothing else, and is open to no internet."""

from __future__ import annotations

from typing import Any

import pytest
from tests.verify.locks import artifact_version, members
from tests.verify.machine import Listeners, Shape
from tests.verify.serve import funnelled, targets

UNIT = "tailscaled.service"
NOWHERE = {None, "", "0"}


def test_unit_is_active_and_enabled(units: dict[str, Any], node: dict[str, Any]) -> None:
    found = units[UNIT]
    assert (found["ActiveState"], found["SubState"], found["UnitFileState"]) == ("active", "running", "enabled")


def test_version_is_as_pinned(node: dict[str, Any]) -> None:
    pinned = artifact_version("tailscale")
    assert node["package"] == f"installed {pinned}"
    assert node["version"] == [pinned]


def test_running_binary_is_the_depots(units: dict[str, Any], node: dict[str, Any], shape: Shape) -> None:
    known = members("tailscale", shape.depot)
    assert units[UNIT]["main"], "tailscaled does not run"
    assert units[UNIT]["main"]["sha256"] == known["usr/sbin/tailscaled"], units[UNIT]["main"]["exe"]
    on_disk = {line.split()[1].lstrip("/"): line.split()[0] for line in node["programs"].splitlines()}
    assert on_disk == {name: known[name] for name in ("usr/bin/tailscale", "usr/sbin/tailscaled")}


def test_environment_is_as_promised(units: dict[str, Any], node: dict[str, Any]) -> None:
    assert units[UNIT]["environment"].get("TS_NO_LOGS_NO_SUPPORT") == "true"


@pytest.mark.promise("Your tailnet is controlled by the server that you chose")
def test_node_is_online(node: dict[str, Any], shape: Shape) -> None:
    assert node["backend"] == "Running", node["problem"] or node["health"]
    assert node["online"] is True, node["health"]
    assert node["addresses"] and node["name"], node
    assert node["tun"] is True, "user-space networking: every loopback port would be open to the tailnet"
    vendor = {"https://controlplane.tailscale.com", "https://login.tailscale.com"}
    wanted = {shape.control_url.rstrip("/")} if shape.control_url else vendor
    assert str(node["prefs"]["ControlURL"]).rstrip("/") in wanted


@pytest.mark.promise("The tailnet gives nobody a shell, a route or a remote control of this machine")
def test_node_is_no_router_and_no_ssh_server(node: dict[str, Any]) -> None:
    prefs = node["prefs"]
    # The positive control: the reader does see preferences that are on.
    assert prefs["WantRunning"] is True, "the preferences cannot be read"
    on = [k for k in ("RouteAll", "RunSSH", "RunWebClient", "ShieldsUp", "PostureChecking", "LoggedOut") if prefs[k]]
    assert not on, f"switched on: {on}"
    assert not prefs["AdvertiseRoutes"] and not prefs["AdvertiseServices"]
    assert {prefs["ExitNodeID"], prefs["ExitNodeIP"], prefs["OperatorUser"]} <= NOWHERE, prefs
    assert not (prefs["AppConnector"] or {}).get("Advertise")
    assert prefs["RelayServerPort"] is None
    assert (prefs["AutoUpdate"] or {}).get("Apply") is False, "it would update itself"
    assert prefs["NetfilterMode"] == 2, "tailscaled does not guard its own interface"


@pytest.mark.promise("Of what Holdfast installs, the tailnet is given Open WebUI and nothing else")
def test_only_open_webui_is_published(node: dict[str, Any], shape: Shape) -> None:
    found = targets(node["serve"])
    if not shape.publishes:
        assert found == []
        return
    assert len(found) == 1, f"published: {found}"
    site, _, target = found[0].partition(" -> ")
    assert target == f"http://127.0.0.1:{shape.web_port}"
    assert site.startswith(f"{node['name']}:") and site.endswith("/")


def test_published_address_answers(node: dict[str, Any], shape: Shape) -> None:
    if not shape.publishes:
        pytest.skip("the settings publish nothing (tailscale.serve: false)")
    assert node["serve"].get("TCP"), f"nothing is published: {node['serve']}"
    if any(entry.get("HTTPS") for entry in node["serve"]["TCP"].values()):
        pytest.skip("published by https: the machine itself does not open it (its certificate is made on the first visit)")
    assert set(node["opened"].values()) == {200}, node["opened"]


@pytest.mark.promise("Nothing of this machine is open to the internet (no funnel)")
def test_funnel_is_off(node: dict[str, Any]) -> None:
    # The positive control: one that is on is seen, in the background's part and in a session's.
    assert funnelled({"Foreground": {"x": {"AllowFunnel": {"a:443": True}}}, "AllowFunnel": {"b:443": True, "c:443": False}}) == [
        "b:443", "a:443",
    ]  # fmt: skip
    assert funnelled(node["serve"]) == []


@pytest.mark.promise("No server that Holdfast installs listens on an address of your network")
def test_listens_on_the_tailnet_only(listeners: Listeners, node: dict[str, Any], shape: Shape) -> None:
    own = {entry["address"] for entry in listeners if entry["unit"] == UNIT and entry["protocol"] == "tcp"}
    if shape.publishes:
        assert own, "tailscaled listens nowhere, though it publishes something"
    assert own <= set(node["addresses"]), f"tailscaled listens on {sorted(own - set(node['addresses']))}"
    ours = [e for e in listeners if e["unit"] in shape.units and e["protocol"] == "tcp"]
    everywhere = [e for e in ours if e["address"] in ("0.0.0.0", "::")]
    assert not everywhere, f"open on every address: {everywhere}"
