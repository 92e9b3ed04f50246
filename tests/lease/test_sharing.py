"""Servers take turns under every kind of load: nothing is cut, never two at once, and nobody waits for long.

How long is in terms of the same run: what its generations and loads took (Turns.at_most).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.conftest import SOAK
from tests.lease.clients import Crowd, generate, whole
from tests.lease.sampler import Sampler
from tests.lease.servers import Server, Site

from holdfast_onhost.lease.states import LINGER_S

TOKENS = 60


@dataclass(frozen=True)
class Load:
    """What the clients of each side do, and after how many hand-overs it is enough."""

    hand_overs: int
    clients: int = 1
    think: float = 0.0
    parallel: int = 1
    keep_alive: tuple[int | str, int | str] = ("5m", "5m")


LOADS = {
    "one client a side": Load(hand_overs=8),
    "two overlapping clients a side": Load(hand_overs=8, clients=2),
    "think times": Load(hand_overs=4, think=0.15),
    "two slots": Load(hand_overs=4, clients=2, parallel=2),
    "keep_alive 0 and -1": Load(hand_overs=4, keep_alive=(0, -1)),  # 5m is what the others have
}


class Turns:
    """What one turn takes in this run, at the worst, in seconds: the bound of every wait is a number of these."""

    def __init__(self, servers: Sequence[Server], hold: float = 0.0) -> None:
        self.servers, self.hold = servers, hold
        self.anew = {server.name: 0.0 for server in servers}

    def measure_anew(self, server: Server, **extra: Any) -> None:
        """One that Ollama unloads after each answer: what a request takes by itself, with nobody else."""
        for _ in range(2):
            began = time.monotonic()
            generate(server, 1, **extra)
            self.anew[server.name] = max(self.anew[server.name], time.monotonic() - began)

    def at_most(self, crowd: Crowd, stall: float) -> float:
        """Minimum hold, what runs when it is over, and the next load, three times: for all that is between, on a machine that
        does other things besides (who overtakes whom is counted, not timed: `overtaken`); and of what others on the processor
        can take (Sampler.stall), one for each of the steps from process to process.

        What runs: one that was let in just before, after one that had just ended (the turn ends between requests).
        """
        loads = [
            float(found)
            for server in self.servers
            for found in re.findall(r"holdfast: loaded in ([0-9.]+) s", server.said())
        ]
        generation = max(asked.worked for asked in crowd.done)
        return 3 * (self.hold + 2 * generation + LINGER_S + max(loads) + max(self.anew.values())) + 5 * stall


@pytest.mark.parametrize("name", LOADS)
def test_turns(name: str, site: Site, serve: Callable[..., Server]) -> None:
    load = LOADS[name]
    servers = [serve(n, OLLAMA_NUM_PARALLEL=str(load.parallel)) for n in ("coder", "reasoner")]
    turns = Turns(servers)
    crowd = Crowd()
    for server, keep_alive in zip(servers, load.keep_alive, strict=True):
        if keep_alive == 0:
            turns.measure_anew(server, keep_alive=0)
        crowd.add(server, TOKENS, think=load.think, clients=load.clients, keep_alive=keep_alive)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: seen.hand_overs >= load.hand_overs * (4 * SOAK or 1))  # --soak 10: 1,120 in all
    judge(crowd, seen)
    # Ahead of a request is, at worst, each other client of its own side, and before each of those and itself a turn of the
    # other side.
    bound = 2 * load.clients * turns.at_most(crowd, seen.stall)
    waits = {server.name: max(asked.took for asked in crowd.of(server.name)) for server in servers}
    ours, theirs = (len(crowd.of(server.name)) for server in servers)
    print(
        f"{name}: {seen.hand_overs} hand-overs, {ours} and {theirs} requests, longest {waits} of {bound:.2f} s, "
        f"alone {dict(seen.alone)}"
    )
    assert max(waits.values()) <= bound, (waits, bound)
    # While Ollama starts its runner anew, as it does after each answer with keep_alive 0, that side is not in the queue,
    # and the other one has the card; with think times the clients say how often they ask.
    if load.think == 0 and 0 not in load.keep_alive:
        assert min(ours, theirs) / max(ours, theirs) > (0.8 if SOAK else 0.6), (ours, theirs)
        # A turn is what runs when the other side comes to wait, and one more for each slot that slips in before that is seen.
        assert max(overtaken(crowd)) <= load.clients * 2 * load.parallel, name


def judge(crowd: Crowd, seen: Sampler) -> None:
    """No error, nothing cut, no two at once; and the sampler did see each of them."""
    assert [asked.error for asked in crowd.done if asked.error] == []
    assert all(asked.whole for asked in crowd.done)
    assert seen.both == []
    assert set(seen.alone) == {"coder", "reasoner"} and min(seen.alone.values()) >= seen.hand_overs / 2


def overtaken(crowd: Crowd) -> list[int]:
    """For each request, how many of the other side began after it and ended before it."""
    return [
        sum(
            other.server != asked.server
            and asked.began < other.began
            and other.began + other.took < asked.began + asked.took
            for other in crowd.done
        )
        for asked in crowd.done
    ]


def test_stream_of_four_does_not_starve_single_requests(site: Site, serve: Callable[..., Server]) -> None:
    coder, reasoner = serve("coder"), serve("reasoner")
    crowd = Crowd()
    crowd.add(coder, TOKENS, clients=4)
    crowd.add(reasoner, TOKENS, think=0.4)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: len(crowd.of("reasoner")) >= 4 * max(1, SOAK))
    judge(crowd, seen)
    waits = [asked.took for asked in crowd.of("reasoner")]
    assert max(waits) <= 2 * Turns([coder, reasoner]).at_most(crowd, seen.stall), waits
    of_single = [n for n, asked in zip(overtaken(crowd), crowd.done, strict=True) if asked.server == "reasoner"]
    assert max(of_single) <= 2, of_single


def test_minimum_hold_gives_a_busy_holder_its_time(site: Site, serve: Callable[..., Server]) -> None:
    """Shown by how long each process is seen; the first turn and those at the end may be shorter: nobody waits."""
    hold = 0.6
    coder, reasoner = (serve(n, HOLDFAST_LEASE_MIN_HOLD_S=str(hold)) for n in ("coder", "reasoner"))
    crowd = Crowd()
    for server in (coder, reasoner):
        crowd.add(server, TOKENS, clients=2)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: seen.hand_overs >= 4)
    judge(crowd, seen)
    turns = [last - first for first, last in list(seen.spans.values())[1:] if last < crowd.stopped_at]
    assert len(turns) >= 2 and min(turns) > hold * 0.9, turns
    bound = 2 * 2 * Turns([coder, reasoner], hold).at_most(crowd, seen.stall)
    assert max(asked.took for asked in crowd.done) <= bound
    # One waiter ahead: at most one whole turn of it, with its hold, what runs then and its load, lies within any wait.
    others = list(zip(seen.loads, seen.spans.values(), strict=True))
    for asked in crowd.done:
        within = [n for n, (a, b) in others if n != asked.server and asked.began < a and b < asked.began + asked.took]
        assert len(within) <= 1, asked


def test_idle_holder_yields_at_once_whatever_the_minimum_hold(site: Site, serve: Callable[..., Server]) -> None:
    hold = 300
    coder, reasoner = (serve(n, HOLDFAST_LEASE_MIN_HOLD_S=str(hold)) for n in ("coder", "reasoner"))
    crowd = Crowd()
    crowd.add(coder, TOKENS, think=0.5)
    crowd.add(reasoner, TOKENS, think=0.5)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: seen.hand_overs >= 3)
    judge(crowd, seen)
    turns = [last - first for first, last in seen.spans.values()]
    assert len(turns) >= 4 and max(turns) < hold, turns


def test_instance_that_shares_nothing_never_waits(site: Site, serve: Callable[..., Server]) -> None:
    coder, alone = serve("coder"), serve("reasoner", "", HOLDFAST_LEASE_DIR="")
    crowd = Crowd()
    crowd.add(coder, TOKENS)
    crowd.add(alone, TOKENS)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: min(len(crowd.of(n)) for n in ("coder", "reasoner")) >= 4)
    assert all(asked.whole for asked in crowd.done) and sorted(seen.loads) == ["coder", "reasoner"]


def test_disjoint_instances_never_wait_for_each_other(site: Site, serve: Callable[..., Server]) -> None:
    coder, third = serve("coder", "gpu0"), serve("third", "gpu1")
    both = serve("reasoner", "gpu0 gpu1")
    crowd = Crowd()
    crowd.add(coder, TOKENS)
    crowd.add(third, TOKENS)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: min(len(crowd.of(n)) for n in ("coder", "third")) >= 4)
    assert all(asked.whole for asked in crowd.done) and set(seen.both) == {("coder", "third")}
    assert sorted(seen.loads) == ["coder", "third"], "each was loaded once and stayed"
    crowd = Crowd()
    for server in (coder, third, both):
        crowd.add(server, TOKENS)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: min(len(crowd.of(n)) for n in ("coder", "third", "reasoner")) >= 3 * max(1, SOAK))
    assert all(asked.whole for asked in crowd.done), [asked.error for asked in crowd.done if asked.error]
    assert set(seen.both) <= {("coder", "third")} and seen.alone["reasoner"]
    # Three turns: a waiter of one card may have to wait for the one of both, which waits for the third.
    bound = 3 * Turns([coder, third, both]).at_most(crowd, seen.stall)
    waits = {n: max(asked.took for asked in crowd.of(n)) for n in ("coder", "third", "reasoner")}
    print(f"three instances: longest {waits} of {bound:.2f} s")
    assert max(waits.values()) <= bound, (waits, bound)


def test_answer_that_fills_a_quantized_context_ends_there(site: Site, serve: Callable[..., Server]) -> None:
    """Of the unplanned context the same, with f16, is gone on with: the shift itself is left as it is."""
    quantized = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1", "HOLDFAST_CONTEXT": "512"}
    one, other = serve("coder", **quantized), serve("reasoner", HOLDFAST_CONTEXT="512")
    full = generate(one, 1000)
    assert full["done_reason"] == "length" and full["prompt_eval_count"] + full["eval_count"] in (511, 512, 513), full
    assert whole(generate(other, 1000), 1000)
    assert whole(generate(one, 60), 60), "and the next one is answered"
