"""`init --update`: what the cards change in a block, and not a byte more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cli.init_person import OTHER, arguments, file, started, terminal
from tests.unit.fit.machines import slot, slots

from holdfast.cli import init, init_block, init_cards, init_update
from holdfast.cli.main import run
from holdfast.components.nvidia.slots import Slots
from holdfast.errors import HoldfastError
from holdfast.fit.slot import Slot
from holdfast.settings import fitting
from holdfast.settings.loader import load, resolve

__all__ = ["file"]  # a fixture

TWO = (
    OTHER
    + """
# the big one
box:
  profile: dual_3090        # of group_data
  local: true
  login_user: ada
  gpus:   # mine
    left: "01:00.0"   # the good one

    right: "21:00.0"
  models: {limit_mib_s: 5}
  instances:
    coder: {context: 12288}   # enough for me
  tailscale: {enabled: false}

# the end
"""
)
LEFT, RIGHT = slot(0x01), slot(0x21)


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The machine has just these cards."""
    return lambda *found: monkeypatch.setattr(init, "read_slots", lambda ws: Slots(tuple(found), "ada", True))


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and those that came."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def updated(file: Path, text: str, **given: Any) -> Any:
    """After an --update --yes, and another one, which has nothing to do."""
    file.write_text(text)
    found = started(update=True, yes=True, **given)
    after = file.read_text()
    assert started(update=True, **given).data["diff"] == [] and file.read_text() == after
    load("box")
    return found


def test_a_machine_as_described_changes_nothing(file: Path, shows: Any) -> None:
    shows(LEFT, RIGHT)
    found = updated(file, TWO)
    assert file.read_text() == TWO and not found.data["written"] and "nothing to change" in found.lines[-1]


def test_a_card_that_is_gone_takes_the_large_reasoner_with_it(file: Path, shows: Any) -> None:
    shows(LEFT)
    found = updated(file, TWO)
    gone, come = changed(TWO, file.read_text())
    assert gone == ['    right: "21:00.0"']
    assert come == ['    reasoner: {model: "deepseek-r1:32b", gpus: [left]}']
    said = " ".join(found.data["reasons"])
    assert "right: no card is at 21:00.0 any more" in said and "deepseek-r1:70b does not fit" in said
    assert all(verdict.fits for verdict in fitting.verdicts(load("box")).values())


def test_an_added_card(file: Path, shows: Any) -> None:
    shows(LEFT, RIGHT, slot(0x41))
    updated(file, TWO)
    gone, come = changed(TWO, file.read_text())
    assert gone == []
    assert come == ['    third: "41:00.0"', "    reasoner: {gpus: [right, third]}"]


def test_a_card_that_moved_keeps_its_name(file: Path, shows: Any) -> None:
    shows(LEFT, slot(0x61))
    found = updated(file, TWO)
    assert changed(TWO, file.read_text()) == (['    right: "21:00.0"'], ['    right: "61:00.0"'])
    assert "in the place of the one at 21:00.0" in found.data["reasons"][0]


@pytest.mark.parametrize(
    ("key", "reasoner"),
    [
        ("rtx-5090", ""),
        ("rtx-3060", '    reasoner: {model: "deepseek-r1:32b", gpus: [left]}'),
    ],
)
def test_an_exchanged_card(key: str, reasoner: str, file: Path, shows: Any) -> None:
    shows(LEFT, slot(0x21, key))
    found = updated(file, TWO)
    come = [f'    right: {{address: "21:00.0", card: {key}}}', *([reasoner] if reasoner else [])]
    assert changed(TWO, file.read_text()) == (['    right: "21:00.0"'], come)
    assert "another card than the rtx-3090 that was there" in found.data["reasons"][0]


def test_a_monitor_counts_where_nobody_said_otherwise(file: Path, shows: Any) -> None:
    shows(slot(0x01, monitor=True), RIGHT)
    updated(file, TWO)
    come = ['    left: {address: "01:00.0", display: true}   # the good one']
    assert changed(TWO, file.read_text())[1] == come
    text = TWO.replace('"21:00.0"', '{address: "21:00.0", display: false}').replace(
        '"01:00.0"', '{address: "01:00.0", display: true}'
    )
    shows(slot(0x01, monitor=False), slot(0x21, monitor=True))
    assert not updated(file, text).data["written"], "a person's word stands"
    # The firmware's screen is a guess: good enough for a new card, not for one that is described.
    shows(slot(0x01, boot_vga=True), RIGHT)
    assert not updated(file, TWO).data["written"]


def test_what_a_person_has_set_is_kept_where_it_fits(file: Path, shows: Any) -> None:
    shows(LEFT)
    text = TWO.replace(
        "coder: {context: 12288}", "coder: {context: 12288}\n    reasoner: {context: 28000, parallel: 1}"
    )
    updated(file, text)
    assert '    reasoner: {context: 28000, parallel: 1, model: "deepseek-r1:32b", gpus: [left]}' in file.read_text()
    updated(file, text.replace("28000, parallel: 1", "28000, parallel: 2"))
    reasoner = load("box").instances["reasoner"]
    assert reasoner.parallel == 2 and reasoner.context < 28000


def test_a_model_of_a_persons_own_stays(file: Path, shows: Any) -> None:
    own = "  instances:\n    coder: {model: own:7b, gpus: [right]}\n"
    text = TWO.replace("  instances:\n    coder: {context: 12288}   # enough for me\n", own)
    shows(LEFT, RIGHT, slot(0x41))
    updated(file, text)
    assert own in file.read_text()
    shows(LEFT)
    file.write_text(text)
    with pytest.raises(HoldfastError, match=r"instances\.coder: own:7b has no card") as caught:
        started(update=True, yes=True)
    assert "there are: left" in caught.value.fix and file.read_text() == text


def test_cards_where_there_were_none(file: Path, shows: Any) -> None:
    text = "box:\n  profile: cpu\n  local: true\n  login_user: ada\n  tailscale: {enabled: false}\n"
    shows(LEFT)
    updated(file, text)
    assert file.read_text().startswith(text)
    ws = load("box")
    assert ws.instances["coder"].model == "qwen2.5-coder:32b" and ws.instances["coder"].context == 16384
    assert [instance.gpus for instance in ws.instances.values()] == [["first"], ["first"]]


def test_without_any_card_it_stops(file: Path, shows: Any) -> None:
    shows()
    file.write_text(TWO)
    with pytest.raises(HoldfastError, match="shows no NVIDIA card any more") as caught:
        started(update=True, yes=True)
    assert "is it in its slot" in caught.value.fix and file.read_text() == TWO


def test_an_unknown_card_is_asked_for_once(file: Path, shows: Any) -> None:
    shows(LEFT, RIGHT, slot(0x41, ""))
    file.write_text(TWO)
    with pytest.raises(HoldfastError, match="not in the table"):
        started(update=True)
    started(update=True, yes=True, cards=["41:00.0=24576"])
    assert '    third: {address: "41:00.0", vram_mib: 24576}' in file.read_text()
    assert not started(update=True).data["diff"], "what a person said is in the file"
    assert not updated(file, TWO, cards=["41:00.0=none"]).data["written"]


def test_two_sizes_under_one_number(file: Path, shows: Any) -> None:
    text = TWO.replace('right: "21:00.0"', 'right: {address: "21:00.0", card: rtx-5060-ti-16gb}')
    text = text.replace("coder: {context: 12288}", "reasoner: {model: 'deepseek-r1:32b', gpus: [left]}")
    shows(LEFT, slot(0x21, "rtx-5060-ti"))
    assert not updated(file, text).data["written"]
    # The positive control: a 3060 is no 3060 Ti, whatever the words begin with.
    shows(LEFT, slot(0x21, "rtx-3060"))
    assert updated(file, text.replace("rtx-5060-ti-16gb", "rtx-3060-ti")).data["written"]


def test_it_asks(file: Path, shows: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shows(LEFT)
    file.write_text(TWO)
    asked = terminal(monkeypatch, "n")
    with pytest.raises(HoldfastError, match="left as it is"):
        started(update=True)
    assert "Write this" in asked[0] and file.read_text() == TWO
    shown = capsys.readouterr().out
    assert '-    right: "21:00.0"' in shown and '+    reasoner: {model: "deepseek-r1:32b", gpus: [left]}' in shown
    terminal(monkeypatch, "yes")
    assert started(update=True).data["written"] and "21:00.0" not in file.read_text()


def test_where_nobody_can_be_asked_it_only_proposes(file: Path, shows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shows(LEFT)
    file.write_text(TWO)
    assert run(["init", "box", "--update", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert not found["written"] and '-    right: "21:00.0"' in found["diff"] and file.read_text() == TWO
    assert run(["init", "@local", "--update", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] and run(["init", "box", "--update", "--json"]) == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "bok", "update": True}, "unknown host 'bok'"),
        ({"update": True, "login_user": "ada"}, "--login-user with --update"),
        ({"host": "@local", "update": True}, "no host of hosts.yml says"),
    ],
)
def test_wrong_words(given: dict[str, Any], says: str, file: Path) -> None:
    file.write_text(TWO.replace("  local: true\n", ""))
    with pytest.raises(HoldfastError, match=says) as caught:
        init.run(arguments(**given), None)  # type: ignore[arg-type]
    assert caught.value.code == 2 and caught.value.fix


@pytest.mark.parametrize(
    "own", ["box: {profile: dual_3090, login_user: ada, gpus: {left: '01:00.0', right: '21:00.0'}}\n"]
)
def test_a_block_on_one_line(own: str, file: Path, shows: Any) -> None:
    shows(LEFT)
    updated(file, own)
    assert file.read_text() == own.replace(
        ", right: '21:00.0'}", '}, instances: {reasoner: {model: "deepseek-r1:32b", gpus: [left]}}'
    )


def propose(block: dict[str, Any], text: str, found: list[Slot]) -> tuple[str, dict[str, Any]]:
    """``text`` after an update for a machine with the cards ``found``."""
    ws = init.settings({"name": "box", **block}, "test")
    known = init_cards.identify(found, {}, lambda slot: "", init_update.declared(ws, block, found))
    new = init_update.propose(ws, block, known.boards).applied(text, "box")
    return new, yaml.safe_load(new)["box"]


KEYS = ["rtx-3090", "rtx-4090", "rtx-5090", "rtx-3060", "rtx-4060-ti-16gb", "a40"]


@settings(max_examples=25, deadline=None)
@given(slots(4, KEYS), st.data())
def test_from_any_machine_to_any_other(before: list[Slot], data: Any) -> None:
    """Some cards stay, some go, some come: what is proposed is valid and fits, and a second time there is nothing to do."""
    draft = init_block.draft(init_cards.identify(before, {}, lambda slot: "").boards)
    block = init_block.block(draft, {"login_user": "ada"})
    text = init_block.text("box", draft, block)
    stay = data.draw(st.lists(st.sampled_from(before), unique=True)) if before else []
    come = data.draw(
        slots(3, KEYS).map(lambda new: [one for one in new if one.address not in {s.address for s in stay}])
    )
    if not (stay or come):
        return
    new, after = propose(block, text, [*stay, *come])
    ws = resolve({"name": "box", **after})
    assert all(verdict.fits is not False for verdict in fitting.verdicts(ws).values())
    assert {gpu.address for gpu in ws.gpus.values()} == {one.address for one in [*stay, *come]}
    assert {k: v for k, v in after.items() if k not in ("gpus", "instances")} == {
        k: v for k, v in block.items() if k not in ("gpus", "instances")
    }
    assert propose(after, new, [*come, *stay])[0] == new


@pytest.mark.parametrize(("key", "coder", "reasoner"), [("rtx-3060", "14b", "14b"), ("rtx-3070", "7b", "7b")])
def test_smaller_models_where_the_big_ones_no_longer_fit(
    key: str, coder: str, reasoner: str, file: Path, shows: Any
) -> None:
    shows(slot(0x01, key))
    updated(file, TWO)
    found = load("box")
    models = {role: one.model for role, one in found.instances.items()}
    assert models == {"coder": f"qwen2.5-coder:{coder}", "reasoner": f"deepseek-r1:{reasoner}"}
    assert all(verdict.fits for verdict in fitting.verdicts(found).values())
