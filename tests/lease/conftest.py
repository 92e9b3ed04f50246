"""Two real Ollama servers on loopback that share a make-believe GPU: the lease needs no GPU, and no machine of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lease import tree
from tests.lease.sampler import wait_until_none
from tests.lease.servers import Server, Site

Make = Callable[..., Server]


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("t")
    vendor = tree.unpack(folder / "vendor")
    return vendor, tree.around(vendor, folder / "ours"), folder / "store", tree.store(folder / "store")


@pytest.fixture
def site(trees: tuple[Path, Path, Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fresh lease directory; afterwards no llama-server may be left, and none ends one here."""
    made = Site(*trees, folder=tmp_path_factory.mktemp("s"))
    yield made
    assert wait_until_none(made.weights) == []


@pytest.fixture
def serve(site: Site) -> Iterator[Make]:
    """Starts instances; they are stopped after the test."""
    started: list[Server] = []

    def make(name: str, lease: str | None = "gpu0", **environment: str) -> Server:
        started.append(Server(site, name, lease, **environment))
        return started[-1]

    yield make
    for server in started:
        server.stop()
