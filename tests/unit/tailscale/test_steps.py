"""State of the node × what is wanted -> the next steps. The JSON is what tailscale 1.102.5 printed beside headscale 0.29.2."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from holdfast.components.tailscale.node import TAILSCALE, Node, comparable, parse
from holdfast.components.tailscale.steps import Refuse, Run, Want, decide, funnels

PREFERENCES: dict[str, Any] = {
    "accept-dns": False,
    "accept-routes": False,
    "advertise-connector": False,
    "advertise-exit-node": False,
    "advertise-routes": "",
    "auto-update": False,
    "exit-node": "",
    "exit-node-allow-lan-access": False,
    "hostname": "ws",
    "netfilter-mode": "on",
    "nickname": "",
    "operator": "",
    "relay-server-port": "",
    "relay-server-static-endpoints": "",
    "report-posture": False,
    "shields-up": False,
    "snat-subnet-routes": True,
    "ssh": False,
    "stateful-filtering": False,
    "update-check": True,
    "webclient": False,
}
WEB = {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}
SERVED: dict[str, Any] = {"TCP": {"80": {"HTTP": True}}, "Web": {"ws.tail.test:80": WEB}}
FOUND: dict[str, Any] = {
    "version": "1.102.5",
    "unit": "active",
    "problem": "",
    "control_url": "https://10.199.0.2",
    "auto_update": False,
    "preferences": PREFERENCES,
    "serve": SERVED,
    "status": {
        "Version": "1.102.5",
        "TUN": True,
        "BackendState": "Running",
        "TailscaleIPs": ["100.64.0.1", "fd7a:115c:a1e0::1"],
        "Self": {"DNSName": "ws.tail.test.", "Online": True, "CapMap": {"https://tailscale.com/cap/ssh": []}},
        "Health": [],
        "CertDomains": None,
    },
}
GOOD = parse(FOUND)
NEW = replace(GOOD, backend="NeedsLogin", name="", control_url="", auto_update=None, serve={}, addresses=())
WANT = Want(login_server="https://10.199.0.2", hostname="ws", scheme="http", port=80, publish=8080)


def argvs(node: Node, want: Want = WANT) -> list[tuple[str, ...]]:
    steps = decide(node, want)
    assert all(isinstance(step, Run) for step in steps), steps
    return [step.argv for step in steps if isinstance(step, Run)]


def test_a_node_that_is_right_gets_no_step() -> None:
    assert GOOD.name == "ws.tail.test" and GOOD.online and GOOD.addresses[0] == "100.64.0.1"
    assert decide(GOOD, WANT) == []


def test_login() -> None:
    [step] = decide(NEW, WANT)
    assert isinstance(step, Run) and step.key and step.limit_s > WANT.timeout_s
    assert step.argv == (
        "up",
        "--auth-key=file:/dev/stdin",
        "--timeout=60s",
        "--reset",
        "--login-server=https://10.199.0.2",
        "--hostname=ws",
        "--accept-dns=false",
    )


def test_tags_are_asked_for_only_when_they_are_set() -> None:
    # headscale refuses a login with a key and --advertise-tags: there the tags come from the key.
    assert not any("tags" in word for argv in argvs(NEW) for word in argv)
    assert "--advertise-tags=tag:gpu,tag:ws" in argvs(NEW, replace(WANT, tags=("tag:gpu", "tag:ws")))[0]


def test_tailscale_itself_needs_no_login_server() -> None:
    assert not any("login-server" in word for word in argvs(NEW, replace(WANT, login_server=""))[0])


def test_only_a_login_takes_the_key() -> None:
    wrong = replace(GOOD, preferences={**PREFERENCES, "ssh": True}, serve={})
    for node in (replace(GOOD, backend="Stopped"), wrong, replace(GOOD, serve={})):
        steps = decide(node, WANT)
        assert steps and not any(step.key for step in steps if isinstance(step, Run))


def test_stopped_is_brought_up_without_any_flag() -> None:
    assert argvs(replace(GOOD, backend="Stopped")) == [("up",)]


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Node(), "not installed"),
        (Node(version="1.102.5", unit="inactive", problem="failed to connect"), "failed to connect"),
        (replace(GOOD, backend="Starting", health=("no relay",)), r"beyond Starting \(no relay\)"),
        (replace(NEW, backend="NoState"), "beyond NoState"),
        (replace(GOOD, backend="NeedsMachineAuth"), "approved by a person"),
        (replace(GOOD, control_url=TAILSCALE), "in the tailnet of https://controlplane.tailscale.com"),
        (replace(GOOD, backend="Stopped", control_url="https://old.example"), "in the tailnet of https://old.example"),
        (replace(GOOD, tun=False), "user-space networking"),
        (replace(GOOD, backend="InUseOtherUser"), "not known here: InUseOtherUser"),
        (
            replace(GOOD, serve={**SERVED, "Foreground": {"a": {"AllowFunnel": {"ws.tail.test:443": True}}}}),
            "to the internet",
        ),
        (replace(GOOD, name="", serve={}), "no name to publish under"),
    ],
)
def test_what_only_a_person_can_solve(node: Node, words: str) -> None:
    [step] = decide(node, WANT)
    assert isinstance(step, Refuse) and step.fix
    assert re.search(words, step.why), step.why


def test_a_logged_out_node_may_join_another_control_server() -> None:
    assert argvs(replace(NEW, control_url="https://old.example"))[0][0] == "up"


def test_drift_is_one_set_of_just_what_is_wrong() -> None:
    drifted = replace(GOOD, preferences={**PREFERENCES, "ssh": True, "accept-routes": True, "exit-node": "100.64.0.9"})
    assert argvs(drifted) == [("set", "--accept-routes=false", "--exit-node=", "--ssh=false")]


@pytest.mark.parametrize("name", sorted(PREFERENCES))
def test_every_preference_that_opens_the_machine_is_put_back(name: str) -> None:
    left_alone = {
        "exit-node-allow-lan-access", "nickname", "relay-server-static-endpoints", "snat-subnet-routes",
        "stateful-filtering", "update-check",
    }  # fmt: skip
    value = PREFERENCES[name]
    other = (not value) if isinstance(value, bool) else value + "x"
    steps = decide(replace(GOOD, preferences={**PREFERENCES, name: other}), WANT)
    assert bool(steps) == (name not in left_alone)


def test_what_an_older_version_does_not_know_is_not_set() -> None:
    assert "remote-config" not in PREFERENCES
    assert argvs(replace(GOOD, preferences={**PREFERENCES, "remote-config": True})) == [
        ("set", "--remote-config=false")
    ]


def test_undecided_auto_update_is_decided() -> None:
    assert argvs(replace(GOOD, auto_update=None)) == [("set", "--auto-update=false")]


def test_no_hostname_of_its_own_means_the_machines_name() -> None:
    assert argvs(GOOD, replace(WANT, hostname="")) == [("set", "--hostname=")]


PUBLISH = ("serve", "--bg", "--http=80", "http://127.0.0.1:8080")
RESET = ("serve", "reset")


@pytest.mark.parametrize(
    ("served", "steps"),
    [
        ({}, [PUBLISH]),
        ({"TCP": {"443": {"HTTPS": True}}, "Web": {"ws.tail.test:443": WEB}}, [RESET, PUBLISH]),
        ({**SERVED, "TCP": {**SERVED["TCP"], "11434": {"TCPForward": "127.0.0.1:11434"}}}, [RESET, PUBLISH]),
        ({"TCP": SERVED["TCP"], "Web": {"old.tail.test:80": WEB}}, [RESET, PUBLISH]),
        ({**SERVED, "AllowFunnel": {"ws.tail.test:80": True}}, [RESET, PUBLISH]),
        ({**SERVED, "AllowFunnel": {"ws.tail.test:80": False}}, []),
        ({**SERVED, "Services": {"svc:x": {"TCP": {"80": {"HTTP": True}}}}}, [RESET, PUBLISH]),
        ({**SERVED, "Foreground": {"a": {"TCP": {"9": {"HTTP": True}}}}}, []),
        (
            {
                "TCP": SERVED["TCP"],
                "Web": {"ws.tail.test:80": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:11434"}}}},
            },
            [RESET, PUBLISH],
        ),
    ],
)
def test_serve(served: dict[str, Any], steps: list[tuple[str, ...]]) -> None:
    assert argvs(replace(GOOD, serve=served)) == steps


def test_publishing_nothing() -> None:
    assert argvs(GOOD, replace(WANT, publish=0)) == [RESET]
    assert argvs(replace(GOOD, serve={}, name=""), replace(WANT, publish=0)) == []


def test_https_names_the_way_out() -> None:
    [_, step] = decide(GOOD, replace(WANT, scheme="https", port=443))
    assert isinstance(step, Run) and step.argv[2] == "--https=443" and "certificates" in step.fix


def test_drift_comes_before_publishing() -> None:
    # A rename changes the name that is published under: the node is read again in between.
    assert argvs(replace(GOOD, preferences={**PREFERENCES, "hostname": "x"}, serve={})) == [("set", "--hostname=ws")]


@pytest.mark.parametrize(
    ("config", "found"), [(None, False), ({}, False), (SERVED, False), ({"a": {"AllowFunnel": {"x": True}}}, True)]
)
def test_funnels(config: Any, found: bool) -> None:
    assert funnels(config) is found


@pytest.mark.parametrize("url", ["", TAILSCALE, TAILSCALE + "/", "https://login.tailscale.com"])
def test_tailscales_own_address_has_several_spellings(url: str) -> None:
    assert comparable(url) == TAILSCALE != comparable("https://hs.example")


def test_a_machine_of_which_nothing_is_known_reads_as_bare() -> None:
    assert parse(None) == Node() == parse({}) and not Node().member
