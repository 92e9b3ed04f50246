"""The door between Ollama's requests and the real llama-server: who may pass, who waits, and what the others know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.states import State, passes

_LOOK_S = 0.05  # how soon a client that left while it waited is noticed


class Gate:
    """Shared by the threads of the relay, the slot probe and the supervisor; `changed` guards everything."""

    def __init__(self, parallel: int = 1) -> None:
        """`parallel`: how many generations Ollama lets run at once, its slots."""
        self.changed = threading.Condition()
        self.parallel = parallel
        self.state = State.PARKED
        self.loaded_once = False  # from then on Ollama is told that all is well
        self.active = self.generating = self.held = self.served = 0
        self.turns = 0  # generations that came or went, ever
        self.last_end = time.monotonic()
        self.asked_health = 0.0  # when Ollama did; it does for each request, before that takes its slot
        self.unproven: set[int] = set()  # with how many slots in use it is to be shown that one more is free
        self._failures = 0
        self._failure = Refused("", "")

    def enter(self, generating: bool, gone: Callable[[], bool]) -> bool:
        """Waits until the request may pass.  False: its client left.  Raises Refused if the load for it failed."""
        with self.changed:
            failures = self._failures
            self.held += 1
            self.changed.notify_all()
            try:
                while not passes(self.state, generating, time.monotonic() - self.last_end):
                    self.changed.wait(_LOOK_S)
                    if self._failures != failures:
                        raise self._failure
                    if gone():
                        return False
                self.active += 1
                if generating:
                    self._generates()
                return True
            finally:
                if self._failures == failures:
                    self.held -= 1
                self.changed.notify_all()

    def look(self) -> bool:
        """Who only asks whether something runs may pass while it does, and never waits.  False: nothing does."""
        with self.changed:
            serves = self.state is State.SERVING or self.generating > 0
            self.active += serves
            return serves

    def _generates(self) -> None:
        self.served += 1
        self.turns += 1
        self.generating += 1
        if self.generating >= self.parallel:
            self.unproven.clear()  # Ollama has given away every slot that it should have

    def leave(self, generating: bool, left: bool = False) -> None:
        """The request's answer is complete, or its client `left`."""
        with self.changed:
            self.active -= 1
            if generating:
                self.generating -= 1
                self.turns += 1
                self.last_end = time.monotonic()
            if generating and left:
                self.doubt()
            self.changed.notify_all()

    def doubt(self) -> None:
        """A client went away before it had all of its answer, which may have cost a slot (slot_probe.py)."""
        with self.changed:
            self.unproven = {0, self.parallel - 1}

    def set(self, state: State) -> None:
        """`state` from now on; everyone who waits looks again."""
        with self.changed:
            self.state = state
            self.changed.notify_all()

    def loaded(self) -> float:
        """The real llama-server is ready.  Returns the time."""
        with self.changed:
            self.loaded_once = True
            self.served = 0
            self.last_end = time.monotonic()
            self.set(State.SERVING)
            return self.last_end

    def fail(self, why: Refused) -> None:
        """Everyone who waits at the door is told why there will be no answer."""
        with self.changed:
            self._failures += 1
            self._failure = why
            self.held = 0  # at once, before they have woken: else they would look like somebody who still waits
            self.state = State.PARKED
            self.changed.notify_all()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for us: a request, or Ollama, for which we were started."""
        return self.held > 0 or not self.loaded_once

    @property
    def quiet(self) -> bool:
        """Whether nobody is being answered and nobody waits."""
        return self.active == 0 and self.held == 0
