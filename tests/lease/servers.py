"""Real `ollama serve` processes on loopback, each with a home of its own, started again when they end, as a unit would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lease.clients import ask
from tests.ports import free_port


@dataclass
class Site:
    """What all instances of a test have in common."""

    vendor: Path
    tree: Path
    store: Path
    weights: dict[str, str]
    folder: Path  # of this test alone
    lease: Path = field(init=False)

    def __post_init__(self) -> None:
        self.lease = self.folder / "lease"
        self.lease.mkdir()


class Server:
    """One instance.  `lease` names what it holds; None: the vendor's Ollama as it is, without a supervisor."""

    def __init__(self, site: Site, name: str, lease: str | None = "gpu0", **environment: str) -> None:
        self.site, self.name = site, name
        self.home = site.folder / name
        self.home.mkdir(exist_ok=True)
        self.port = free_port()
        self.log = self.home / "log"
        self.program = (site.vendor if lease is None else site.tree) / "bin" / "ollama"
        self.environment = self._environment(lease) | environment
        self.starts = 0
        self._wanted = True
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self.ready()

    def _environment(self, lease: str | None) -> dict[str, str]:
        leased = {
            "HOLDFAST_LEASE_DIR": str(self.site.lease),
            "HOLDFAST_LEASE": lease or "",
            "HOLDFAST_INSTANCE": self.name,
            "HOLDFAST_LEASE_MIN_HOLD_S": "0",
            "HOLDFAST_LLAMA_SERVER": str(self.site.vendor / "lib" / "ollama" / "llama-server"),
            "HOLDFAST_CONTEXT": "4096",
        }
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.site.store),
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_VULKAN": "0",
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_NUM_PARALLEL": "1",
            "OLLAMA_CONTEXT_LENGTH": "2048",
            "OLLAMA_KEEP_ALIVE": "5m",
            "OLLAMA_LOAD_TIMEOUT": "0",
            "LLAMA_ARG_THREADS": "1",
            "LLAMA_ARG_CACHE_RAM": "0",
            **leased,
        }

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", str(self.program), "serve"],  # also if the tests are killed
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _keep(self) -> None:
        while self._wanted:
            self._process.wait()
            if self._wanted:
                self._process = self._start()

    def ready(self) -> None:
        """Waits until it answers."""
        while True:
            try:
                ask(self, "GET", "/api/version", timeout=5)
                return
            except OSError:
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; the keeper starts it anew."""
        self._process.kill()

    def stop(self) -> None:
        """For good.  A supervisor must follow by itself: nothing here ends it."""
        self._wanted = False
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._keeper.join(30)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def stop(servers: Mapping[str, Server]) -> None:
    for server in servers.values():
        server.stop()
