"""The cure for https://github.com/ollama/ollama/issues/17131, to be removed when Ollama's pin has the fix (#17881).

A client that leaves just after a token can leave one of Ollama's goroutines blocked for good with the model's slot in
its hands: every later request to that model hangs.  No answer ever comes, so nothing inside a request can notice it.

When all has been quiet for a second after a generation, ask our own Ollama for something that takes the slot and is
refused at once: an invalid format, 1.5 ms, neither the model nor the GPU is touched, and it works while parked.  If it
does not come back twice, the slot is lost: end Ollama, which its unit starts anew (Restart=always; exit code 0).
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time

from holdfast_onhost.lease.gate import Gate

_QUIET_S = 1.0
_TIMEOUT_S = 3.0
_TRIES = 2


class SlotProbe:
    """`server` is Ollama's host and port, `ollama` a pidfd of it."""

    def __init__(self, gate: Gate, server: tuple[str, int], ollama: int) -> None:
        self.gate, self.server, self.ollama = gate, server, ollama

    def run(self) -> None:
        while True:
            time.sleep(0.25)
            since = self._due()
            if since is None:
                continue
            try:
                lost = self._lost()
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                print(f"holdfast: slot probe: {error}", file=sys.stderr, flush=True)
                continue
            with self.gate.changed:
                if self.gate.unproven != since or not self.gate.quiet:
                    continue  # somebody came meanwhile: what we waited for was perhaps their generation
                self.gate.unproven = None
            if lost:
                print("holdfast: Ollama lost its slot (ollama#17131): restarting it", file=sys.stderr, flush=True)
                signal.pidfd_send_signal(self.ollama, signal.SIGTERM)

    def _due(self) -> float | None:
        with self.gate.changed:
            since = self.gate.unproven
            return since if since and self.gate.quiet and time.monotonic() - since >= _QUIET_S else None

    def _lost(self) -> bool:
        loaded = json.loads(self._ask("GET", "/api/ps"))["models"]
        if not loaded:
            return False
        # The context that it was loaded with: another one would be a reason to load it anew.
        body = {"model": loaded[0]["name"], "prompt": "x", "raw": True, "stream": False, "format": "slot probe"}
        if loaded[0].get("context_length"):
            body["options"] = {"num_ctx": loaded[0]["context_length"]}
        for _ in range(_TRIES):
            try:
                self._ask("POST", "/api/generate", body)
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
