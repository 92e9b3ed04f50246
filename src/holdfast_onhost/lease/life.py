"""The life of one runner: waiting, loading, serving, giving way, over and over, under one port."""

from __future__ import annotations

import os
import select
import sys
import threading
import time

from holdfast_onhost.lease import command, proof
from holdfast_onhost.lease.child import Child, socket_path
from holdfast_onhost.lease.gate import Gate
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue, Waiter
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.relay import Relay
from holdfast_onhost.lease.settings import Settings
from holdfast_onhost.lease.slot_probe import SlotProbe
from holdfast_onhost.lease.states import State, View, step

_POLL_S = 0.02
_CRASHES, _CRASHES_S = 3, 30.0


class Supervisor:
    """In the main thread; the relay, the slot probe and the look at Ollama have threads of their own."""

    def __init__(self, settings: Settings, argv: list[str]) -> None:
        self.settings = settings
        where = socket_path(settings.home)
        self.gate = Gate()
        self.relay = Relay(self.gate, command.value(argv, "--host"), int(command.value(argv, "--port")), where)
        self.queue = Queue(settings.directory, settings.resources, settings.instance)
        self.leases = Leases(settings.directory, settings.resources, settings.instance)
        self.child = Child(settings.real, command.real(argv, where, settings.context, settings.on_gpus), where)
        self.crashes: list[float] = []

    def run(self) -> None:
        ollama = os.pidfd_open(os.getppid())
        probe = SlotProbe(self.gate, self.settings.server, ollama)
        for work in (self.relay.run, probe.run, lambda: end_with(ollama)):
            threading.Thread(target=work, daemon=True).start()
        while True:
            self._wait_for_demand()
            try:
                if not self._acquire():
                    continue
                self._load()
            except Refused as why:
                self._park()
                if not self.gate.loaded_once:
                    raise
                say(f"error: {why}")
                self.gate.fail(why)
                continue
            say(f"gave way after {self._serve()}")

    def _wait_for_demand(self) -> None:
        with self.gate.changed:
            self.gate.set(State.PARKED)
            while not self.gate.wanted:
                self.gate.changed.wait()

    def _acquire(self) -> bool:
        """Waits for our turn.  False: nobody wants it any more, and no trace of the waiting is left."""
        self.gate.set(State.WAITING)
        start = time.monotonic()
        try:
            while self.gate.wanted:
                if (self.queue.joined or not self.settings.resources or self.queue.join()) and (
                    self.queue.my_turn() and self.leases.take()
                ):
                    say(f"has {' '.join(self.settings.resources) or 'its turn'} after {time.monotonic() - start:.2f} s")
                    return True
                time.sleep(_POLL_S)
            return False
        finally:
            self.queue.leave()

    def _load(self) -> None:
        """Raises Refused.  If the very first load ends badly, so do we: Ollama reads why from llama-server's output."""
        self.gate.set(State.LOADING)
        start = time.monotonic()
        proof.prove(self.settings)
        self.child.start(self.leases.descriptors)
        while not self.child.ready():
            status = self.child.ended()
            if status is not None:
                if not self.gate.loaded_once:
                    os._exit(status if status > 0 else 128 - status)
                raise self._ended(status, "while it loaded")
            time.sleep(0.01)
        self.loaded_at = self.gate.loaded()
        say(f"loaded in {self.loaded_at - start:.2f} s")

    def _serve(self) -> str:
        """Until somebody else's turn comes, or llama-server ends by itself.  Returns what there is to tell."""
        while True:
            waiting = self.queue.waiting()
            with self.gate.changed:
                state = step(self._view(waiting))
                status = self.child.ended()
                if state is State.PARKED or status is not None:
                    self.gate.set(State.LOADING if status is not None else State.PARKED)
                    break
                if state is not self.gate.state:
                    self.gate.set(state)
                self.gate.changed.wait(_POLL_S)
        told = f"{time.monotonic() - self.loaded_at:.2f} s, {self.gate.served} served"
        self._park()
        if status is not None:
            self._crashed(status)
            return f"{told}: llama-server ended by itself with status {status}"
        return f"{told}: {waiting[0].instance} waits"

    def _view(self, waiting: list[Waiter]) -> View:
        return View(
            now=time.monotonic(), loaded_at=self.loaded_at, last_end=self.gate.last_end, active=self.gate.active,
            held=self.gate.held, served=self.gate.served, min_hold_s=self.settings.min_hold_s, contended=bool(waiting),
            preferred=self.queue.preferred, other_preferred=any(not waiter.later for waiter in waiting),
        )  # fmt: skip

    def _park(self) -> None:
        """The order matters: only when the child is gone, its memory with it, may another one have the GPU."""
        self.child.stop()
        self.leases.release()

    def _ended(self, status: int, when: str) -> Refused:
        return Refused(
            f"llama-server ended by itself with status {status} {when}",
            f"the lines before say why: journalctl -u ollama@{self.settings.instance} -n 50",
        )

    def _crashed(self, status: int) -> None:
        """Its clients know by the end of their connections.  Once is loaded again; again and again is an error."""
        now = time.monotonic()
        self.crashes = [*(at for at in self.crashes if now - at < _CRASHES_S), now]
        say(f"error: {self._ended(status, 'while it served')}")
        if len(self.crashes) >= _CRASHES:
            self.gate.fail(self._ended(status, f"{len(self.crashes)} times within {_CRASHES_S:g} s"))


def end_with(ollama: int) -> None:
    """Ends this process, and with it the child, as soon as the process of this pidfd has ended."""
    poll = select.poll()
    poll.register(ollama, select.POLLIN)
    poll.poll()
    os._exit(1)


def say(text: str) -> None:
    print(f"{text}" if text.startswith("error:") else f"holdfast: {text}", file=sys.stderr, flush=True)
