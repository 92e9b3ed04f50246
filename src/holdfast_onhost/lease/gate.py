"""The door between Ollama's requests and the real llama-server: who may pass, who waits, and what the others know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.states import State

_LOOK_S = 0.05  # how soon a client that left while it waited is noticed


class Gate:
    """Shared by the threads of the relay, the slot probe and the supervisor; `changed` guards everything."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.state = State.PARKED
        self.loaded_once = False  # from then on Ollama is told that all is well
        self.active = self.held = self.served = 0
        self.last_end = time.monotonic()
        self.unproven: float | None = None  # since when Ollama's slot has not been proven to be free (slot_probe.py)
        self._failures = 0
        self._failure = Refused("", "")

    def enter(self, generating: bool, gone: Callable[[], bool]) -> bool:
        """Waits until the request may pass.  False: its client left.  Raises Refused if the load for it failed."""
        with self.changed:
            failures = self._failures
            self.held += 1
            self.changed.notify_all()
            try:
                while not (self.state is State.SERVING or (self.state is State.DRAINING and not generating)):
                    self.changed.wait(_LOOK_S)
                    if self._failures != failures:
                        raise self._failure
                    if gone():
                        return False
                self.active += 1
                self.served += generating
                if generating:
                    self.unproven = None
                return True
            finally:
                if self._failures == failures:
                    self.held -= 1
                self.changed.notify_all()

    def leave(self, generating: bool) -> None:
        """The request's answer is complete, or its client left."""
        with self.changed:
            self.active -= 1
            self.last_end = time.monotonic()
            if generating:
                self.unproven = self.last_end
            self.changed.notify_all()

    def set(self, state: State) -> None:
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
        return self.active == 0 and self.held == 0
