"""SIGKILL at random times of the real llama-server, of its supervisor, or of Ollama: what fails is what was killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.conftest import SOAK
from tests.lease.clients import HANGS, Asked, Crowd, Stream, generate, whole
from tests.lease.sampler import Sampler, runners, wait_until_none
from tests.lease.servers import Server, Site
from tests.lease.test_hand_over import status
from tests.waiting import until


def supervisor(server: Server) -> int | None:
    """The child of Ollama that runs the supervisor with a model."""
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            words = (entry / "cmdline").read_bytes().split(b"\0") if parent == server.pid else []
        except OSError:
            continue
        if b"--model" in words:
            return int(entry.name)
    return None


def victim(kind: str, server: Server, site: Site) -> int | None:
    if kind == "server":
        return server.pid
    if kind == "supervisor":
        return supervisor(server)
    return next((found.pid for found in runners(site.weights) if found.model == server.name), None)


def belongs(failed: Asked, kills: list[tuple[str, float]], done: list[Asked]) -> bool:
    """Whether a kill of the same instance explains it: one before its end, and no request since then has gone well.

    None explains that nobody answered: what is killed is known to be gone at once.
    """
    return not failed.error.startswith(HANGS) and any(
        name == failed.server
        and at <= failed.began + failed.took
        and not any(a.server == name and not a.error and at < a.began and a.began + a.took < failed.began for a in done)
        for name, at in kills
    )


def test_what_a_kill_explains() -> None:
    """The control of the next one."""
    kills, later = [("coder", 1.0)], Asked("coder", 2.0, 0.5, whole=True)
    cut = Asked("coder", 0.5, 1.0, whole=False, error="OSError: RemoteDisconnected")
    assert belongs(cut, kills, [])
    assert belongs(replace(cut, began=1.1), kills, [later])
    assert not belongs(replace(cut, error=f"{HANGS}TimeoutError: timed out"), kills, [])
    assert not belongs(replace(cut, server="reasoner"), kills, [])
    assert not belongs(replace(cut, took=0.4), kills, [])
    assert not belongs(replace(cut, began=3.0), kills, [later])


def test_only_requests_of_what_was_killed_fail(site: Site, serve: Callable[..., Server]) -> None:
    servers = [serve("coder"), serve("reasoner")]
    chance = random.Random(4)
    crowd = Crowd()
    for server in servers:
        crowd.add(server, 60, clients=2)
    kills: list[tuple[str, float]] = []
    enough = threading.Event()

    def recovered() -> bool:
        """Since the last kill a request has gone well, of either; or one hangs, and there is nothing to wait for."""
        return any((asked.whole and asked.began > kills[-1][1]) or HANGS in asked.error for asked in list(crowd.done))

    def kill() -> None:
        while len(kills) < 6 * max(1, SOAK):
            time.sleep(chance.uniform(0.1, 0.8))
            if kills:
                until(recovered)
            server = chance.choice(servers)
            pid = victim(("child", "supervisor", "server")[len(kills) % 3], server, site)
            if pid is not None:
                kills.append((server.name, time.monotonic()))
                os.kill(pid, signal.SIGKILL)
        enough.set()

    threading.Thread(target=kill, daemon=True).start()
    with Sampler(site.weights) as seen:
        crowd.run(enough.is_set)
        for server in servers:
            server.ready()
            assert whole(generate(server, 60), 60)
    assert seen.both == [], seen.both
    failed = [asked for asked in crowd.done if asked.error]
    assert all(belongs(asked, kills, crowd.done) for asked in failed), (failed, kills)
    assert all(asked.whole for asked in crowd.done if not asked.error)
    assert failed and min(len(crowd.of(s.name)) for s in servers) > 3
    print(f"{len(kills)} kills, {len(failed)} of {len(crowd.done)} requests failed, {seen.hand_overs} hand-overs")


def test_nothing_of_a_killed_holder_stays(site: Site, serve: Callable[..., Server]) -> None:
    """Also with old files in the lease directory, as after a restart of the unit: what is not locked means nothing."""
    coder = serve("coder")
    for kind in ("child", "supervisor", "server"):
        until(lambda: not generate(coder, 5) or True)
        pid = victim(kind, coder, site)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        if kind != "child":  # the supervisor of a killed child loads it anew only when somebody asks
            assert wait_until_none(site.weights) == []
        until(lambda: not status(site)["gpu0"]["holder"])
        coder.ready()
        if kind == "server":
            break
    left = sorted(path.name for path in site.lease.rglob("*"))
    assert "gpu0.lease" in left and "coder" in left
    reasoner = serve("reasoner")
    assert whole(generate(reasoner, 5), 5) and whole(generate(coder, 5), 5)


def test_stopping_a_server_ends_what_it_holds(site: Site, serve: Callable[..., Server]) -> None:
    coder, reasoner = serve("coder"), serve("reasoner")
    stream = Stream(coder, 6000)
    stream.first()
    coder.stop()
    assert whole(generate(reasoner, 5), 5)
    assert [found.model for found in runners(site.weights)] == ["reasoner"]
    stream.leave()
