"""When a holder gives way: single looks, and whole turns of a made-up holder against what must hold for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from holdfast_onhost.lease.states import GRACE_S, LINGER_S, UNSERVED_S, State, View, passes, step

BUSY = View(
    now=100.0, loaded_at=90.0, last_end=99.99, active=1, held=1, served=5, min_hold_s=60.0,
    contended=True, preferred=False, other_preferred=False,
)  # fmt: skip
IDLE = replace(BUSY, active=0, held=0, last_end=95.0)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (replace(IDLE, contended=False), State.SERVING),
        (IDLE, State.PARKED),  # whatever the minimum hold
        (replace(IDLE, last_end=99.95), State.SERVING),  # Ollama may still ask for tokens of the last answer
        (replace(IDLE, held=1), State.SERVING),  # not idle, and within its minimum hold
        (replace(IDLE, served=0, loaded_at=99.5, last_end=99.5), State.SERVING),  # Ollama has not noticed the load yet
        (replace(IDLE, served=0), State.PARKED),  # … and its client has left
        (BUSY, State.SERVING),
        (replace(BUSY, loaded_at=30.0), State.DRAINING),
        (replace(BUSY, loaded_at=30.0, contended=False), State.SERVING),
        (replace(BUSY, loaded_at=30.0, active=0), State.DRAINING),  # for a moment, because of the last answer
        (replace(BUSY, loaded_at=30.0, active=0, last_end=99.0), State.PARKED),
        (replace(BUSY, loaded_at=98.0, min_hold_s=0.0, served=0), State.SERVING),  # one generation at least
        (replace(BUSY, min_hold_s=0.0, served=0), State.DRAINING),  # … if one comes at all
        (replace(BUSY, other_preferred=True), State.DRAINING),
        (replace(BUSY, loaded_at=30.0, preferred=True), State.SERVING),
        (replace(IDLE, preferred=True), State.PARKED),
    ],
)
def test_step(view: View, expected: State) -> None:
    assert step(view) is expected


@pytest.mark.parametrize(
    ("state", "generating", "since_end", "expected"),
    [
        (State.SERVING, True, 9.0, True),
        (State.DRAINING, True, 0.0, False),
        (State.DRAINING, False, LINGER_S / 2, True),  # the tokens of what has just been generated
        (State.DRAINING, False, LINGER_S, False),
        (State.PARKED, False, 0.0, False),
        (State.LOADING, True, 0.0, False),
    ],
)
def test_who_may_pass(state: State, generating: bool, since_end: float, expected: bool) -> None:
    assert passes(state, generating, since_end) is expected


TICK_S = 0.05
Step = Callable[[View], State]


@dataclass
class Turn:
    """One turn of a holder for which somebody waits from the first moment, in steps of TICK_S.

    Generations come at `generations` (begin and seconds each); cheap requests come at every tick and take one.  Each of
    them waits where it may not pass, as at the real door.
    """

    generations: tuple[tuple[float, float], ...]
    cheap: bool
    min_hold_s: float

    def play(self, step: Step) -> tuple[str, float]:
        """What went wrong ("" for nothing), and when it gave way."""
        waiting = sorted(self.generations)
        ends: list[float] = []
        served, last_end, state = 0, 0.0, State.SERVING
        for tick in range(round(400 / TICK_S)):
            now = tick * TICK_S
            last_end = max([last_end, *(end for end in ends if end <= now)])
            ends = [end for end in ends if end > now]
            while waiting and waiting[0][0] <= now and passes(state, True, now - last_end):
                ends.append(now + waiting.pop(0)[1])
                served += 1
            cheap = self.cheap and passes(state, False, now - last_end)
            held = sum(begin <= now for begin, _ in waiting) + (self.cheap and not cheap)
            active = len(ends) + cheap
            state = step(View(now, 0.0, last_end, active, held, served, self.min_hold_s, True, False, False))
            if state is State.PARKED:
                if active:
                    return "cut", now
                idle = not held and now - last_end >= LINGER_S
                return ("" if idle or now >= self.min_hold_s else "gave way too soon"), now
            if now > self.latest(last_end, ends):
                return "waited for longer than it must", now
        return "never gave way", 400.0

    def latest(self, last_end: float, running: list[float]) -> float:
        """The bound: the minimum hold, what runs at its end, and the moment that an answer's tokens take."""
        due = max(self.min_hold_s, UNSERVED_S)
        return (
            max([due, *running, last_end])
            + (max(seconds for _, seconds in self.generations) if last_end < due else 0)
            + (LINGER_S + 2 * TICK_S)
        )


_turns = st.builds(
    Turn,
    st.lists(st.tuples(st.floats(0, 8), st.floats(0.02, 4)), min_size=1, max_size=6).map(tuple),
    st.booleans(),
    st.floats(0, 8),
)


@given(_turns)
def test_every_turn_ends_in_time_and_cuts_nothing(turn: Turn) -> None:
    problem, when = turn.play(step)
    assert problem == "", (turn, when)


def _ignores_the_hold(view: View) -> State:
    return step(replace(view, min_hold_s=0.0))


def _never_ends_draining(view: View) -> State:
    state = step(view)
    return State.DRAINING if state is State.PARKED else state


def _cuts(view: View) -> State:
    state = step(view)
    return State.PARKED if state is State.DRAINING else state


def _only_when_idle(view: View) -> State:
    return step(replace(view, served=0, loaded_at=view.now))


@pytest.mark.parametrize("wrong", [_ignores_the_hold, _never_ends_draining, _cuts, _only_when_idle])
def test_the_property_finds_a_step_that_is_wrong(wrong: Step) -> None:
    """The control of the test above, by mutants of step()."""
    find(_turns, lambda turn: bool(turn.play(wrong)[0]), settings=settings(max_examples=200, phases=[Phase.generate]))


def test_cheap_requests_that_renew_the_turn_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control for the door: with one that lets everything cheap pass while it drains, a turn has no end."""
    turn = Turn(((0.0, 1.0),), cheap=True, min_hold_s=0.0)
    problem, when = turn.play(step)
    assert problem == "" and 1.0 < when <= 1.0 + LINGER_S + 3 * TICK_S
    monkeypatch.setitem(
        globals(), "passes", lambda state, generating, since_end: not generating or state is State.SERVING
    )
    assert turn.play(step)[0] == "waited for longer than it must"


@given(
    st.builds(
        View, now=st.floats(0, 200), loaded_at=st.floats(0, 200), last_end=st.floats(0, 200), active=st.integers(0, 3),
        held=st.integers(0, 3), served=st.integers(0, 3), min_hold_s=st.floats(0, 100), contended=st.booleans(),
        preferred=st.booleans(), other_preferred=st.booleans(),
    )
)  # fmt: skip
def test_nothing_that_runs_is_cut_and_nobody_gives_way_for_nothing(view: View) -> None:
    state = step(view)
    assert not (view.active and state is State.PARKED)
    assert view.contended or state is State.SERVING
    assert GRACE_S > 0.25, "Ollama looks every 250 ms whether a load is done"
