"""The states of a supervisor, and when a holder gives way (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LINGER_S = 0.1  # after a generation: Ollama still asks for tokens of it before it tells its client that it is done
GRACE_S = 1.0  # after a load: Ollama notices that it is done within 250 ms and only then sends its request
UNSERVED_S = 5.0  # after a load: whoever has only prepared a generation by then (long chats are tokenized) waits again


class State(Enum):
    """PARKED → WAITING → LOADING → SERVING → (DRAINING) → PARKED; Ollama sees the same healthy server throughout."""

    PARKED = "parked"  # no llama-server, no lease, nobody asks
    WAITING = "waiting"  # in the queues
    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"  # what runs ends; what comes waits for our next turn


@dataclass(frozen=True)
class View:
    """What a holder knows; times in seconds of one clock."""

    now: float
    loaded_at: float
    last_end: float  # of a generation, or loaded_at
    active: int  # requests at the real llama-server
    held: int  # requests that wait at our door
    served: int  # generations let in since the load
    min_hold_s: float
    contended: bool  # somebody waits for a resource of ours
    preferred: bool  # a person wants us to go first
    other_preferred: bool  # … or one of those who wait


def passes(state: State, generating: bool, since_end: float) -> bool:
    """Whether a request may go to the real llama-server; `since_end`: seconds since a generation ended.

    While a holder drains only what Ollama still asks for a generation that has just ended may pass, and it moves no end
    further away.  Ollama asks for tokens before a generation, too, and for callers that it has not even queued yet: if
    those could pass, or each of them began another LINGER_S, then clients enough would drain a holder for ever.
    """
    return state is State.SERVING or (state is State.DRAINING and not generating and since_end < LINGER_S)


def step(view: View) -> State:
    """SERVING: go on.  DRAINING: let nothing new in.  PARKED: give way now.

    An idle holder gives way at once.  A busy one after its minimum hold and at least one generation, between requests:
    nothing that runs is ever cut.
    """
    if not view.contended:
        return State.SERVING
    quiet = view.active == 0 and view.now - view.last_end >= LINGER_S
    turn = view.now - view.loaded_at
    idle = quiet and view.held == 0 and (view.served > 0 or turn >= GRACE_S)
    hold = 0.0 if view.other_preferred else view.min_hold_s
    due = not view.preferred and turn >= hold and (view.served > 0 or turn >= UNSERVED_S)
    if not (idle or due):
        return State.SERVING
    return State.PARKED if quiet else State.DRAINING
