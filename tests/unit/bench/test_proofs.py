"""The three proofs, from what machines.py fakes."""

from __future__ import annotations

import pytest
from tests.unit.bench.machines import CHILD, JOURNAL, LEFT, PARTLY, PLANNED, RECORDED, RIGHT, card, instance, look

from holdfast.bench import proofs
from holdfast.bench.onhost.machine import CARD

CODER = "qwen2.5-coder:32b"
ONE = {"left": PLANNED["left"]}


def test_the_journals_line_is_read() -> None:
    assert proofs.offloaded(JOURNAL) == [(65, 65)]
    assert proofs.offloaded(PARTLY + JOURNAL) == [(48, 65), (65, 65)]
    assert proofs.offloaded("load_tensors: offloading output layer to GPU\n") == []
    assert {text: proofs.offloaded(text) for text in RECORDED} == {text: [seen] for text, seen in RECORDED.items()}


@pytest.mark.parametrize(
    ("text", "problem", "holds", "words"),
    [
        (JOURNAL + JOURNAL, "", True, "offloaded 65/65"),
        (PARTLY + JOURNAL, "", False, "offloaded 48/65"),
        ("", "", None, "no line"),
        ("", "sudo: a password is required", None, "a password"),
    ],
)
def test_the_journal_proves_every_load(text: str, problem: str, holds: bool | None, words: str) -> None:
    found = proofs.by_journal({"text": text, "problem": problem})
    assert found.holds is holds and words in found.words


def test_rows_of_nvidia_smi() -> None:
    row = proofs.rows(card(LEFT, PLANNED["left"], draw="[N/A]", default="[Not Supported]") + "\nbroken, row\n\n", CARD)
    assert len(row) == 1
    assert row[0]["name"] == "NVIDIA GeForce RTX 3090" and row[0]["clocks.mem"] == "9501"
    assert row[0]["power.draw"] == row[0]["power.default_limit"] == ""
    assert proofs.address("00000000:0A:00.0") == "0000:0a:00.0"
    assert proofs.address("00010000:21:00.0") == "10000:21:00.0"


def test_memory_by_ollama() -> None:
    assert proofs.by_ps([look(LEFT), look(LEFT)], CODER).holds is True
    assert proofs.by_ps([], CODER).holds is None
    partly = proofs.by_ps([look(LEFT), look(LEFT, vram=15 << 30)], CODER)
    assert partly.holds is False and "75 % of 20.0 GiB" in partly.words
    other = proofs.by_ps([look(LEFT, model="tiny:1b")], CODER)
    assert other.holds is False and "is not loaded" in other.words
    assert proofs.by_ps([look(LEFT, size=0)], CODER).holds is False


@pytest.mark.parametrize(
    ("on", "planned", "holds", "words"),
    [
        ((LEFT,), ONE, True, f"left ({LEFT})"),
        ((LEFT, RIGHT), PLANNED, True, "right"),
        ((LEFT,), PLANNED, False, "on left; planned: left, right"),
        ((RIGHT,), ONE, False, f"on {RIGHT}; planned: left"),
        ((LEFT, RIGHT), ONE, False, "planned: left"),
        ((), ONE, False, "on no card"),
    ],
)
def test_cards_by_uuid(on: tuple[str, ...], planned: dict[str, str], holds: bool, words: str) -> None:
    found = proofs.by_smi([look(*on)], planned)
    assert found.holds is holds and words in found.words


def test_what_nvidia_smi_cannot_say() -> None:
    assert proofs.by_smi([], ONE).holds is None
    silent = look(LEFT)
    silent["apps"] = {"text": "", "problem": "Insufficient Permissions"}
    assert proofs.by_smi([silent], ONE) == proofs.Proof("nvidia-smi", None, "Insufficient Permissions")
    lost = proofs.by_smi([look(LEFT, cards=card(RIGHT, PLANNED["right"]))], ONE)
    assert lost.holds is False and "does not list left" in lost.words


@pytest.mark.parametrize(
    "answer", [[], None, {}, {"models": None}, {"models": [{}]}, {"models": [{"name": CODER, "size": 1}]}]
)
def test_an_answer_of_ollamas_that_is_not_understood_is_no_proof(answer: object) -> None:
    found = proofs.by_ps([look(LEFT), {**look(LEFT), "models": answer}], CODER)
    assert found.holds is None and "not understood" in found.words


@pytest.mark.parametrize(
    ("apps", "holds"),
    [
        (f"{LEFT}, {CHILD}, [N/A], [Not Found]\n", True),  # from within a container: the memory's size is no part of it
        (f"{LEFT}, [N/A], 19500, llama-server\n", False),
        (f"{LEFT}\n", False),
        ("No running processes found\n", False),
        ("", False),
    ],
)
def test_rows_of_compute_apps_that_are_garbled(apps: str, holds: bool) -> None:
    garbled = look()
    garbled["apps"]["text"] = apps
    assert proofs.by_smi([garbled], ONE).holds is holds


@pytest.mark.parametrize("text", ["offloaded 65/ layers to GPU", "offloaded ?/65 layers to GPU", "offloaded 65/65 lay"])
def test_a_garbled_line_of_the_journal_is_no_proof(text: str) -> None:
    assert proofs.by_journal({"text": text, "problem": ""}).holds is None


def test_why_nobody_looked_is_told() -> None:
    blind = instance(35, LEFT, looks=[], looks_problem="Failed: no answer to /api/ps within 60 s")
    held = proofs.proofs(blind, CODER, ONE)
    assert [(proof.holds, "60 s" in proof.words) for proof in held] == [(None, True), (True, False), (None, True)]


def test_two_of_three_are_not_enough() -> None:
    """Each one alone can be missing; together they are all needed."""
    whole = instance(35, LEFT)
    assert [proof.holds for proof in proofs.proofs(whole, CODER, ONE)] == [True, True, True]
    assert proofs.proofs(whole, CODER, {}) == []
    unreadable = instance(35, LEFT, journal={"text": "", "problem": "Permission denied"})
    assert [proof.holds for proof in proofs.proofs(unreadable, CODER, ONE)] == [True, None, True]
    for n, broken in enumerate((
        instance(35, LEFT, looks=[look(LEFT, vram=1)]), instance(35, LEFT, journal={"text": PARTLY, "problem": ""}),
        instance(35, RIGHT),
    )):  # fmt: skip
        held = [proof.holds for proof in proofs.proofs(broken, CODER, ONE)]
        assert held.count(True) == 2 and held[n] is False


def test_processes_of_others_are_told_once() -> None:
    game = f"{LEFT}, 999, 1200, /usr/bin/game, set of two\n{RIGHT}, 998, 5, /usr/bin/other\n"
    found = proofs.strangers([look(LEFT, others=game), look(LEFT, others=game)], ONE)
    assert found == [{"card": "left", "pid": "999", "program": "/usr/bin/game, set of two", "mib": "1200"}]
    assert proofs.strangers([look(LEFT)], ONE) == []
