"""When a holder gives way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_onhost.lease.states import State, View, step

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
        (replace(BUSY, loaded_at=30.0, served=0), State.SERVING),  # one generation at least
        (replace(BUSY, other_preferred=True), State.DRAINING),
        (replace(BUSY, loaded_at=30.0, preferred=True), State.SERVING),
        (replace(IDLE, preferred=True), State.PARKED),
    ],
)
def test_step(view: View, expected: State) -> None:
    assert step(view) is expected


_times = st.floats(0, 200)


@given(
    st.builds(
        View, now=_times, loaded_at=_times, last_end=_times, active=st.integers(0, 3), held=st.integers(0, 3),
        served=st.integers(0, 3), min_hold_s=st.floats(0, 100), contended=st.booleans(), preferred=st.booleans(),
        other_preferred=st.booleans(),
    )
)  # fmt: skip
def test_nothing_that_runs_is_cut_and_nobody_gives_way_for_nothing(view: View) -> None:
    state = step(view)
    assert not (view.active and state is State.PARKED)
    assert view.contended or state is State.SERVING
