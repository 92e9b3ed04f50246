"""One loader for everything: merging, cross-checks, and errors that name path, value, range and the nearest key."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import hosts as hosts_of_up
from holdfast.cli import test_rungs
from holdfast.errors import SettingsError
from holdfast.paths import ROOT
from holdfast.settings.loader import LABS, load, profiles, resolve, sites
from holdfast.settings.merge import merge, nested

BLOCK = {
    "profile": "dual_3090",
    "login_user": "ada",
    "gpus": {"left": "01:00.0", "right": "21:00.0"},
}


def site(**changes: Any) -> dict[str, Any]:
    return merge({"name": "gpu-box", **BLOCK}, changes)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes hosts.yml and points the loader at it."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "hosts.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("HOLDFAST_HOSTS", str(path))
        return path

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return write


def test_a_host_changes_one_key_of_an_instance_and_keeps_the_rest() -> None:
    ws = resolve(site(instances={"coder": {"context": 8192}}))
    assert ws.instances["coder"].context == 8192
    assert ws.instances["coder"].model == "qwen2.5-coder:32b"
    assert set(ws.instances) == {"coder", "reasoner"}


def test_null_removes_and_lists_replace() -> None:
    assert merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"b": None, "c": [3]}}) == {"a": {"c": [3]}}


def test_set_paths_become_mappings() -> None:
    assert nested({"a.b": 1, "a.c": None, "d": 2}) == {"a": {"b": 1, "c": None}, "d": 2}
    assert nested({'models.pins."qwen2.5-coder:32b"': "x"}) == {"models": {"pins": {"qwen2.5-coder:32b": "x"}}}


def test_set_reaches_only_the_host_it_names(hosts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts((ROOT / "hosts.example.yml").read_text())
    monkeypatch.setenv("HOLDFAST_SET", '{"host": "gpu-box", "values": {"instances.coder.context": 2048}}')
    assert load("gpu-box").instances["coder"].context == 2048
    monkeypatch.setenv("HOLDFAST_SET", '{"host": "other", "values": {"instances.coder.context": 2048}}')
    assert load("gpu-box").instances["coder"].context == 12288


def test_pci_addresses_get_their_domain() -> None:
    assert resolve(site()).addresses == {"left": "0000:01:00.0", "right": "0000:21:00.0"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instances": {"coder": {"contxt": 8192}}}, ["gpu-box.instances.coder.contxt", "context"]),
        ({"instances": {"coder": {"context": "many"}}}, ["gpu-box.instances.coder.context", "'many'", "integer", "from 512 to"]),
        ({"instances": {"coder": {"context": 3}}}, ["gpu-box.instances.coder.context", "greater than or equal to 512"]),
        ({"instances": {"coder": {"gpus": ["middle"]}}}, ["middle", "left, right"]),
        ({"instances": {"coder": {"port": 11435}}}, ["11435", "twice"]),
        ({"gpus": {"left": "slot one"}}, ["gpu-box.gpus.left", "slot one", "lspci"]),
        ({"gpus": {"left": "21:00.0"}}, ["0000:21:00.0", "two names"]),
        ({"profile": "dual_309"}, ["dual_309", "dual_3090"]),
        ({"aider": {"editor": "painter"}}, ["painter", "coder, reasoner"]),
        ({"open_webui": {"default_instance": "painter"}}, ["open_webui.default_instance", "coder, reasoner"]),
        ({"instances": {"reasoner": {"model": "qwen2.5-coder:32b"}}}, ["aider.architect", "same model", "qwen2.5-coder:32b"]),
        ({"depot": "http://ada:canary@nas/x"}, ["gpu-box.depot", "'@'", "//…@nas"]),
        ({"models": {"registry": "http://ada:canary@nas"}}, ["gpu-box.models.registry", "'@'", "//…@nas"]),
        ({"tailscale": {"login_server": "http://ada:canary@nas"}}, ["gpu-box.tailscale.login_server", "'@'", "//…@nas"]),
        ({"local": True, "ssh": {"hostname": "other"}}, ["local: true", "ssh"]),
        ({"instances": {"coder": {"kv_type": "q5"}}}, ["'f16', 'q8_0', 'q4_0'"]),
        ({"gpus": {"Left Card": "01:00.0"}}, ["gpu-box.gpus.Left Card"]),
        ({"instances": {"coder": {"gpus": [7]}}}, ["gpu-box.instances.coder.gpus.0", "text"]),
        ({"depot": "ftp://nas/x"}, ["gpu-box.depot", "ftp://nas/x"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(site(**changes))
    text = caught.value.render()
    for word in words:
        assert word in text
    assert "canary" not in text
    assert text.splitlines()[-1].startswith("Fix: ") and caught.value.code == 2


def test_an_unknown_host_lists_the_known_ones(hosts: Any) -> None:
    hosts((ROOT / "hosts.example.yml").read_text())
    with pytest.raises(SettingsError) as caught:
        load("gpu-bix")
    assert "gpu-box" in caught.value.render()


def test_a_host_cannot_be_called_like_a_throw_away_machine() -> None:
    """`up`'s, and those of the rungs: while one runs, a host of its name would stop every command."""
    assert set(LABS) == {hosts_of_up.LAB, *test_rungs.LABS.values()}


@pytest.mark.parametrize("name", [*LABS, "all", "inventory", "dual_3090", "Gpu Box", "-rf", "a" * 40])
def test_host_names_that_would_mean_something_else_are_refused(hosts: Any, name: str) -> None:
    hosts(f'"{name}": {{profile: cpu, login_user: ada}}\n')
    with pytest.raises(SettingsError) as caught:
        sites()
    assert name[:20] in caught.value.render()


def test_plain_pyinfra_refuses_a_wrong_value_before_connecting(hosts: Any) -> None:
    from pyinfra.api.exceptions import InventoryError

    hosts("gpu-box: {profile: cpu, login_user: 7}\n")
    with pytest.raises(InventoryError, match=r"gpu-box\.login_user"):
        runpy.run_path(str(ROOT / "inventory.py"))
    hosts("gpu-box: {profile: cpu, login_user: ada}\n")
    assert runpy.run_path(str(ROOT / "inventory.py"))["cpu"] == ["gpu-box"]


def test_the_example_is_valid_and_short(hosts: Any) -> None:
    text = (ROOT / "hosts.example.yml").read_text()
    hosts(text)
    assert load("gpu-box").profile == "dual_3090"
    assert len(text.splitlines()) <= 15


def test_every_profile_resolves_alone() -> None:
    for name, literals in profiles().items():
        names = sorted({gpu for instance in literals["instances"].values() for gpu in instance["gpus"]})
        cards = {gpu: f"{i + 1:02x}:00.0" for i, gpu in enumerate(names)}
        ws = resolve({"name": "box", "profile": name, "login_user": "ada", "gpus": cards})
        assert ws.instances


def test_a_key_written_into_the_settings_is_not_shown_again() -> None:
    key = "-".join(["tskey", "auth", "kSECRET", "CANARY"])
    for wrong in (key, {"file": [key]}):
        with pytest.raises(SettingsError) as caught:
            resolve(site(tailscale={"auth_key": wrong} if isinstance(wrong, dict) else wrong))
        assert "CANARY" not in caught.value.render() and "tailscale" in caught.value.render()
