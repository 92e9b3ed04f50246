"""A file of two megabytes, a registry on loopback that serves it, and a patience that suits tests."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.lab.models import make, registry
from holdfast_onhost.fetch import Manner

if TYPE_CHECKING:
    from .models_site import Site

QUICK = Manner(stall=0.5, tries=4, pause=0.001)


@dataclass
class Source:
    """A blob behind a registry whose `behaviour` a test may change at any time."""

    data: bytes
    server: registry.Server
    folder: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def url(self) -> str:
        return f"{self.server.url}/v2/library/any/blobs/sha256:{self.sha256}"

    @property
    def behaviour(self) -> registry.Behaviour:
        return self.server.behaviour


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    data = random.Random(7).randbytes(2_000_003)
    folder = tmp_path / "served"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}").write_bytes(data)
    with registry.serving(folder) as server:
        yield Source(data, server, folder)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A registry's folder with the two small models; name -> digest of the manifest. Not to be changed."""
    folder = tmp_path_factory.mktemp("served")
    return folder, make(folder)


@pytest.fixture
def site(served: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    from .models_site import Site

    with registry.serving(served[0]) as server:
        yield Site(server, *served, tmp_path)
