"""The door alone: who passes, who waits, who is told, and what is counted."""

from __future__ import annotations

import threading

import pytest
from tests.waiting import until

from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.states import State


class Client:
    """A request in a thread of its own: what became of it."""

    def __init__(self, gate: Gate, generating: bool = True) -> None:
        self.left, self.became = False, ""
        self.thread = threading.Thread(target=self._run, args=(gate, generating), daemon=True)
        self.thread.start()

    def _run(self, gate: Gate, generating: bool) -> None:
        try:
            self.became = "passed" if gate.enter(generating, lambda: self.left) else "left"
        except Refused as why:
            self.became = str(why)

    def end(self) -> str:
        self.thread.join(30)
        return self.became


def served() -> Gate:
    gate = Gate()
    gate.loaded()
    return gate


def test_who_comes_before_the_load_is_wanted_and_passes_after_it() -> None:
    gate = Gate()
    assert gate.wanted, "Ollama waits for the first load"
    clients = [Client(gate) for _ in range(3)]
    until(lambda: gate.held == 3)
    assert not gate.active and not gate.quiet
    gate.loaded()
    assert {client.end() for client in clients} == {"passed"}
    assert (gate.active, gate.generating, gate.served, gate.held) == (3, 3, 3, 0) and not gate.wanted


def test_client_that_leaves_while_it_waits_is_wanted_no_more() -> None:
    gate = served()
    gate.set(State.PARKED)
    client = Client(gate)
    until(lambda: gate.wanted)
    client.left = True
    assert client.end() == "left" and not gate.wanted and gate.quiet


def test_failure_is_told_to_those_who_waited_and_to_nobody_later() -> None:
    gate = served()
    gate.set(State.LOADING)
    early = [Client(gate) for _ in range(5)]
    until(lambda: gate.held == 5)
    with gate.changed:
        gate.fail(Refused("the card is gone", "put it back"))
        assert gate.state is State.PARKED and not gate.wanted, "before any of them has woken"
        late = Client(gate)
    assert {client.end() for client in early} == {"the card is gone. Fix: put it back"}
    until(lambda: gate.held == 1)
    gate.fail(Refused("again", "wait"))
    assert late.end() == "again. Fix: wait" and gate.held == 0
    gate.loaded()
    assert Client(gate).end() == "passed"


def test_only_generations_are_counted_as_served_and_end_a_turn() -> None:
    gate = served()
    before = gate.last_end
    assert Client(gate, generating=False).end() == "passed"
    assert (gate.active, gate.generating, gate.served, gate.turns) == (1, 0, 0, 0)
    gate.leave(False, left=True)
    assert gate.last_end == before and not gate.unproven
    assert Client(gate).end() == "passed"
    gate.leave(True)
    assert gate.last_end > before and gate.turns == 2 and not gate.unproven and gate.quiet


@pytest.mark.parametrize(("parallel", "doubts"), [(1, {0}), (2, {0, 1}), (4, {0, 3})])
def test_client_that_left_early_casts_doubt_on_every_slot(parallel: int, doubts: set[int]) -> None:
    gate = Gate(parallel)
    gate.loaded()
    assert Client(gate).end() == "passed"
    gate.leave(True, left=True)
    assert gate.unproven == doubts
    for n in range(parallel):
        assert gate.unproven == doubts, n
        assert Client(gate).end() == "passed"
    assert not gate.unproven, "as many at once as there are slots"
