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
        plan = command.Plan(settings.context, settings.batch, settings.on_gpus)
        self.gate = Gate(command.number(argv, "-np", 1))
        self.relay = Relay(self.gate, command.value(argv, "--host"), int(command.value(argv, "--port")), where)
        self.queue = Queue(settings.directory, settings.resources, settings.instance)
        self.leases = Leases(settings.directory, settings.resources, settings.instance)
        self.child = Child(settings.real, command.real(argv, where, plan), where)
        self.loaded_with = command.loaded_with(argv)
        self.crashes: list[float] = []
        self.blind = ""  # why the queue could not be read; said once

    def run(self) -> None:
        """Until Ollama ends; then this process ends with it."""
        ollama = os.pidfd_open(os.getppid())
        probe = SlotProbe(self.gate, self.settings.server, ollama, self.loaded_with)
        for work in (self.relay.run, probe.run, lambda: end_with(ollama)):
            threading.Thread(target=work, daemon=True).start()
        while True:
            self._wait_for_demand()
            try:
                if self._acquire():
                    self._load()
                    say(f"gave way after {self._serve()}")
            except Refused as why:
                self._failed(why)

    def _failed(self, why: Refused) -> None:
        """Nothing of ours stays on a GPU, and everyone who waits is told why.  Raises Refused if Ollama itself waits."""
        try:
            self._park()
        except Refused as worse:
            why = worse
        if not self.gate.loaded_once:
            raise why
        say(f"error: {why}")
        self.gate.fail(why)

    def _wait_for_demand(self) -> None:
        with self.gate.changed:
            self.gate.set(State.PARKED)
            while not self.gate.wanted:
                self.gate.changed.wait()

    def _acquire(self) -> bool:
        """Waits for our turn.  False: nobody wants it any more, and no trace of the waiting is left."""
        self.gate.set(State.WAITING)
        start = time.monotonic()
        self._park()  # a llama-server that did not end has the leases still: to queue behind it would have no end
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
            if time.monotonic() - start >= self.settings.load_limit_s:
                raise Refused(
                    f"llama-server has not loaded its model within {self.settings.load_limit_s:g} s (ollama.load_limit_s)",
                    "a card that hangs: sudo dmesg | grep -i -e xid -e nvrm; a slow disk: a higher load_limit_s in hosts.yml",
                )
            time.sleep(0.01)
        self.loaded_at = self.gate.loaded()
        say(f"loaded in {self.loaded_at - start:.2f} s")

    def _serve(self) -> str:
        """Until somebody else's turn comes, or llama-server ends by itself.  Returns what there is to tell."""
        while True:
            waiting = self._who_waits()
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

    def _who_waits(self) -> list[Waiter]:
        """Somebody who cannot be named where that cannot be told: to yield is safe, to believe that nobody waits is not."""
        try:
            waiting = self.queue.waiting()
        except Refused as why:
            if str(why) != self.blind:
                self.blind = str(why)
                say(self.blind)
            return [Waiter(True, 0, "perhaps somebody")]
        return waiting if self.leases.still_ours() else [Waiter(False, 0, "who took our lease file"), *waiting]

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
    """One line in the journal of the unit."""
    print(text if text.startswith("error:") else f"holdfast: {text}", file=sys.stderr, flush=True)
