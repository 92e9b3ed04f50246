"""`init`: a block for a machine that it has looked at, never over another one without a yes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from tests.unit.cli.init_person import OTHER, Seen, file, seen, started, terminal
from tests.unit.fit.machines import slot, slots

from holdfast.cli import init, init_block, init_cards, remote
from holdfast.cli.main import run
from holdfast.errors import HoldfastError
from holdfast.fit.slot import Slot
from holdfast.settings import fitting
from holdfast.settings.loader import load, resolve

__all__ = ["file", "seen"]  # fixtures


def test_two_cards(file: Path, seen: Seen) -> None:
    file.write_text(OTHER)
    seen(slot(0x01, monitor=True), slot(0x21, width=8))
    found = started()
    text = file.read_text()
    assert text.startswith(OTHER), "the rest stays as it is"
    block = yaml.safe_load(text)["box"]
    assert block == found.data["block"] == {
        "profile": "dual_3090", "ssh": {"hostname": "10.0.0.1"}, "login_user": "ada",
        "gpus": {"left": "21:00.0", "right": {"address": "01:00.0", "display": True}}, "tailscale": {"enabled": False},
    }  # fmt: skip
    assert load("box").addresses == {"left": "0000:21:00.0", "right": "0000:01:00.0"}
    # Each choice is explained, in the file and to a program.
    assert "# GeForce RTX 3090, 24,576 MiB, PCIe 4.0 x8, no display" in text
    assert "# coder: qwen2.5-coder:32b on left: of the 2 cards that take it, the one without a display" in text
    assert found.data["reasons"][1].startswith("reasoner: deepseek-r1:70b on left and right: ")


def test_a_machine_without_a_card(file: Path, seen: Seen) -> None:
    seen()
    found = started("@local", name="here")
    assert found.data["block"] == {
        "profile": "cpu", "local": True, "login_user": "ada", "tailscale": {"enabled": False},
    }  # fmt: skip
    assert not load("here").require_gpu
    assert any("no NVIDIA GPU was found" in line for line in found.lines)


def test_cards_too_small_for_any_model(file: Path, seen: Seen) -> None:
    seen(slot(1, ""))
    found = started(cards=["01:00.0=2048"])
    assert found.data["profile"] == "cpu" and "gpus" not in found.data["block"]
    assert "too small" in file.read_text()


@settings(max_examples=40, deadline=None)
@given(slots())
def test_whatever_the_cards_what_is_written_is_valid_fits_and_reads_back(found: list[Slot]) -> None:
    known = init_cards.identify(found, {}, lambda slot: "")
    draft = init_block.draft(known.boards)
    made = init_block.block(draft, {"login_user": "ada"})
    text = init_block.text("box", draft, made)
    assert yaml.safe_load(text) == {"box": made}
    assert max(map(len, text.splitlines())) < 160
    ws = resolve({"name": "box", **made})
    verdicts = fitting.verdicts(ws)
    assert all(verdict.fits is True or not verdict.on for verdict in verdicts.values())
    assert ws.require_gpu == all(instance.gpus for instance in ws.instances.values())
    # What was counted on is what the file says: kinds, memory and displays.
    assert {name: gpu.kind(ws.card) for name, gpu in ws.gpus.items()} == {n: b.card for n, b in draft.gpus.items()}


def test_a_card_that_nobody_knows_is_asked_for_and_never_guessed(
    file: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(slot(1), slot(2, ""))
    with pytest.raises(HoldfastError, match=r"02:00\.0 \(PCI id 10de:ffff\) is not in the table") as caught:
        started()
    assert caught.value.code == 2 and "--card 02:00.0=24576" in caught.value.fix and not file.exists()
    asked = terminal(monkeypatch, "49152")
    block = started().data["block"]
    assert "10de:ffff" in asked[0] and {"address": "02:00.0", "vram_mib": 49152} in block["gpus"].values()
    ws = load("box")
    other = next(gpu for gpu in ws.gpus.values() if gpu.vram_mib)
    kind = other.kind(ws.card)
    assert kind and kind.vram_mib == 49152 and "3090" not in kind.name and kind.bandwidth_gb_s == 0
    assert all(verdict.fits for verdict in fitting.verdicts(ws).values())


@pytest.mark.parametrize(
    ("word", "entry"),
    [
        ("02:00.0=rtx-4090", {"address": "02:00.0", "card": "rtx-4090"}),
        ("0000:02:00.0=24576", {"address": "02:00.0", "vram_mib": 24576}),
        ("02:00.0=none", None),
    ],
)
def test_what_a_person_says_of_a_card(word: str, entry: Any, file: Path, seen: Seen) -> None:
    seen(slot(1), slot(2, ""))
    gpus = started(cards=[word]).data["block"]["gpus"]
    assert "01:00.0" in gpus.values() and len(gpus) == (2 if entry else 1)
    assert entry is None or entry in gpus.values()


@pytest.mark.parametrize(
    "word", ["02:00.0", "02:00.0=", "2=24576", "02:00.0=rtx-9999", "02:00.0=12", "09:00.0=24576", "="]
)
def test_words_about_a_card_that_mean_nothing(word: str, file: Path, seen: Seen) -> None:
    seen(slot(1), slot(2))
    with pytest.raises(HoldfastError) as caught:
        started(cards=[word])
    assert caught.value.code == 2 and "--card" in caught.value.render() and not file.exists()


def test_a_card_of_a_virtual_machine_is_left_out_and_two_sizes_under_one_number_are_said(
    file: Path, seen: Seen
) -> None:
    seen(slot(1, "rtx-5060-ti"), slot(2, driver="vfio-pci"))
    found = started()
    assert list(found.data["block"]["gpus"].values()) == [{"address": "01:00.0", "card": "rtx-5060-ti"}]
    said = "\n".join(found.data["reasons"])
    assert "02:00.0: it is handed to a virtual machine" in said and "--card 01:00.0=rtx-5060-ti-16gb" in said


@pytest.mark.parametrize("name", ["cpu", "all", "box"])
def test_no_name_is_written_that_the_loader_refuses(name: str, file: Path, seen: Seen) -> None:
    seen()
    if name == "box":
        assert started("@local", name=name).data["name"] == name
        return
    with pytest.raises(HoldfastError, match="cannot be called"):
        started("@local", name=name)
    assert not file.exists()


def test_a_second_local_host_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("here: {profile: cpu, login_user: ada, local: true}\n")
    monkeypatch.setattr(init, "look", lambda args, name: pytest.fail("the machine was looked at"))
    with pytest.raises(HoldfastError, match="2 hosts: here, box") as caught:
        started("@local", name="box")
    assert caught.value.code == 2


def test_the_account_is_asked_for_when_root_logs_in(file: Path, seen: Seen) -> None:
    seen(user="root")
    with pytest.raises(HoldfastError, match="--login-user") as caught:
        started()
    assert caught.value.code == 2
    assert started(login_user="ada").data["block"]["login_user"] == "ada"


def test_an_address() -> None:
    assert init.ssh_of("ada@192.168.1.20:2222") == {"hostname": "192.168.1.20", "user": "ada", "port": 2222}
    assert init.ssh_of("[fd77::1]") == {"hostname": "fd77::1"}
    with pytest.raises(HoldfastError):
        init.ssh_of("a b")


def test_one_round_trip_over_ssh(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(ws: Any, command: list[str], **given: Any) -> Any:
        asked.append(remote.ssh_words(ws)[-1])
        text = "card 0000:01:00.0\ndevice 0x2204\nuser eve\nend\n"
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(remote, "run", answer)
    found = started(ssh="ada@10.0.0.1").data["block"]
    assert asked == ["10.0.0.1"]
    assert found["login_user"] == "eve" and found["ssh"] == {"hostname": "10.0.0.1", "user": "ada"}
    monkeypatch.setattr(remote, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "not allowed\n", ""))
    with pytest.raises(HoldfastError, match="PCI bus"):
        started("another")


def test_for_a_program(file: Path, seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    seen(slot(1))
    assert run(["init", "box", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["written"] and found["block"]["gpus"] == {"card": "01:00.0"} and len(found["reasons"]) == 2
    assert run(["init", "box", "--json"]) == 1
    assert "already" in json.loads(capsys.readouterr().out)["error"]["message"]
