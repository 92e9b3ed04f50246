"""The cure for https://github.com/ollama/ollama/issues/17131, to be removed when Ollama's pin has the fix (#17881).

A client that leaves just after a token can leave one of Ollama's goroutines blocked for good with one of the model's
slots in its hands: with all slots lost, every later request to that model hangs.  No answer ever comes, so nothing inside
a request can notice it.

When a client has left early and all has been quiet for a second, ask our own Ollama for something that takes a slot and
is refused at once: an invalid format, 1.5 ms, neither the model nor the GPU is touched, and it works while parked.  If it
does not come back twice, the slot is lost: end Ollama, which its unit starts anew (Restart=always; exit code 0).
The same where a request has reached Ollama, and nothing came of it here: a client may leave between our last byte and
Ollama's own.

A probe that comes back shows that one slot is free beside those in use.  So with more slots than one there is a second
probe while all but one are in use; if it is lost, Ollama is ended when all is quiet.
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
from typing import Any

from holdfast_onhost.lease.gate import Gate

_QUIET_S = 1.0
_IGNORED_S = 2.0  # Ollama is asked for something, and asks nothing of us: it takes milliseconds where a slot is free
_TIMEOUT_S = 2.0
_TRIES = 2


class SlotProbe:
    """`server` is Ollama's host and port, `ollama` a pidfd of it, `loaded` what it has loaded this model with.

    `loaded` (command.loaded_with): fields of a request for this very runner.  With any other options Ollama would unload
    the model to load it with those (server/sched.go, needsReload).
    """

    def __init__(self, gate: Gate, server: tuple[str, int], ollama: int, loaded: dict[str, Any]) -> None:
        self.gate, self.server, self.ollama, self.loaded = gate, server, ollama, loaded

    def run(self) -> None:
        """Until a slot is lost for good; then Ollama is ended."""
        while True:
            time.sleep(0.25)
            due = self._due()
            if due is None:
                continue
            used, turns = due
            try:
                lost = self._lost()
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                print(f"holdfast: slot probe: {error}", file=sys.stderr, flush=True)
                continue
            if not self._proven(used, turns, lost):
                self._end_ollama()
                return  # we end with it

    def _due(self) -> tuple[int, int] | None:
        """How many slots are in use while the next probe is to be made, and the gate's count of turns; None: not now."""
        gate = self.gate
        with gate.changed:
            now, used = time.monotonic(), gate.generating
            if gate.quiet and now - gate.asked_health >= _IGNORED_S and gate.asked_health > gate.last_end:
                gate.doubt()
            if used not in gate.unproven or gate.held or (used == 0 and not gate.quiet):
                return None
            return (used, gate.turns) if now - gate.last_end >= _QUIET_S else None

    def _proven(self, used: int, turns: int, lost: bool) -> bool:
        """Notes what the probe has shown.  False: a slot is lost."""
        gate = self.gate
        with gate.changed:
            if gate.turns != turns or gate.held:
                return True  # somebody came or went meanwhile: what we waited for was perhaps their generation
            if lost:
                return False
            gate.asked_health = 0.0  # that was for the probe
            gate.unproven.discard(used)
            if used == gate.parallel - 1:
                gate.unproven.clear()
            return True

    def _end_ollama(self) -> None:
        """When all is quiet: with a slot left others are served, and Ollama must have told the last one its end."""
        with self.gate.changed:
            while not self.gate.quiet or time.monotonic() - self.gate.last_end < _QUIET_S:
                self.gate.changed.wait(0.1)
            print("holdfast: Ollama lost its slot (ollama#17131): restarting it", file=sys.stderr, flush=True)
            signal.pidfd_send_signal(self.ollama, signal.SIGTERM)

    def _lost(self) -> bool:
        loaded = json.loads(self._ask("GET", "/api/ps"))["models"]
        if not loaded:
            return False
        options = dict(self.loaded["options"])
        if loaded[0].get("context_length"):
            options["num_ctx"] = loaded[0]["context_length"]
        body = {"model": loaded[0]["name"], "prompt": "x", "raw": True, "stream": False, "format": "slot probe"}
        for _ in range(_TRIES):
            try:
                self._ask("POST", "/api/generate", {**body, **self.loaded, "options": options})
                return False
            except TimeoutError:
                continue
        return True

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        link = http.client.HTTPConnection(*self.server, timeout=_TIMEOUT_S)
        try:
            link.request(method, path, json.dumps(body) if body else None)
            return link.getresponse().read()
        finally:
            link.close()
