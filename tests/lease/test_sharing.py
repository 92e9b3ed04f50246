"""Two servers take turns under every kind of load: nothing is cut, never two at once, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.conftest import SOAK
from tests.lease.clients import Crowd
from tests.lease.sampler import Sampler
from tests.lease.servers import Server, Site

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
    "one client a side": Load(hand_overs=10),
    "two overlapping clients a side": Load(hand_overs=10, clients=2),
    "think times": Load(hand_overs=5, think=0.15),
    "two slots": Load(hand_overs=6, clients=2, parallel=2),
    "keep_alive 0 and -1": Load(hand_overs=6, keep_alive=(0, -1)),  # 5m is what the others have
}


@pytest.mark.parametrize("name", LOADS)
def test_turns(name: str, site: Site, serve: Callable[..., Server]) -> None:
    load = LOADS[name]
    coder, reasoner = (serve(n, OLLAMA_NUM_PARALLEL=str(load.parallel)) for n in ("coder", "reasoner"))
    crowd = Crowd()
    for server, keep_alive in zip((coder, reasoner), load.keep_alive, strict=True):
        crowd.add(server, TOKENS, think=load.think, clients=load.clients, keep_alive=keep_alive)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: seen.hand_overs >= load.hand_overs * (3 * SOAK or 1))  # --soak 10: 1,110 in all
    judge(crowd, seen)
    ours, theirs = (len(crowd.of(n)) for n in ("coder", "reasoner"))
    if (
        0 not in load.keep_alive
    ):  # with 0 Ollama ends its runner after each answer, and is not in the queue while it starts
        if load.think == 0:
            # They take turns one for one; on a busy processor a client of one side may come late to some. Whoever is
            # passed over is told by the next check, which counts turns.
            assert min(ours, theirs) / max(ours, theirs) > 1 / 3, (ours, theirs)
        # Ahead of a request are, at worst, a turn of the others for each client of its own side; a turn is what runs
        # when it comes to wait, and one more for each slot that slips in before that is seen.
        assert max(overtaken(crowd)) <= load.clients * 2 * load.parallel, name
    print(f"{name}: {seen.hand_overs} hand-overs, {len(crowd.done)} requests, alone {dict(seen.alone)}")


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
        crowd.run(lambda: len(crowd.of("reasoner")) >= 6 * max(1, SOAK))
    judge(crowd, seen)
    of_single = [n for n, asked in zip(overtaken(crowd), crowd.done, strict=True) if asked.server == "reasoner"]
    assert max(of_single) <= 2, of_single


def test_minimum_hold_gives_a_busy_holder_its_time(site: Site, serve: Callable[..., Server]) -> None:
    """Shown by how long each process is seen; the first turn and those at the end may be shorter: nobody waits."""
    hold = 1.0
    coder, reasoner = (serve(n, HOLDFAST_LEASE_MIN_HOLD_S=str(hold)) for n in ("coder", "reasoner"))
    crowd = Crowd()
    for server in (coder, reasoner):
        crowd.add(server, TOKENS, clients=2)
    with Sampler(site.weights) as seen:
        crowd.run(lambda: seen.hand_overs >= 4)
    judge(crowd, seen)
    turns = [last - first for first, last in list(seen.spans.values())[1:] if last < crowd.stopped_at]
    assert len(turns) >= 2 and min(turns) > hold * 0.9, turns
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
