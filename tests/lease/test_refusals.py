"""What must be an error with its reason and a Fix: a GPU that is lost under a running server, a lease directory that is
full or not there.  There is no GPU here: a fake lists devices in place of `llama-server --list-devices`, the rest is real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lease.clients import generate, whole
from tests.lease.sampler import runners
from tests.lease.servers import Server, Site
from tests.waiting import until

from holdfast.paths import ROOT

ADDRESS = "0000:01:00.0"
UUID = "GPU-0c8f6a2e-1111-2222-3333-444455556666"
# A mount of one's own, also for who may mount nothing.
ALONE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
CARD = "  CUDA0: NVIDIA GeForce RTX 3090 (24135 MiB, {free} MiB free)\n"


class FakeCard:
    """A card as sysfs, the driver, nvidia-smi and CUDA show it; a test takes it away or fills it."""

    def __init__(self, site: Site) -> None:
        self.root = site.folder / "root"
        self.device = self.root / "sys/bus/pci/devices" / ADDRESS
        self.listed = site.folder / "listed"
        self.programs = site.folder / "programs"
        self.programs.mkdir()
        self.server = self.programs / "llama-server"
        real = site.vendor / "lib" / "ollama" / "llama-server"
        self._program(self.server, f'case "$*" in *--list-devices*) cat "{self.listed}";; *) exec "{real}" "$@";; esac')
        self.whole()

    def whole(self) -> None:
        """As it was."""
        driver = self.root / "proc/driver/nvidia/gpus" / ADDRESS
        for folder in (self.device, driver, self.root / "dev"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.device / "vendor").write_text("0x10de\n")
        (driver / "information").write_text(f"GPU UUID: \t {UUID}\n")
        for node in ("nvidiactl", "nvidia-uvm"):
            (self.root / "dev" / node).touch()
        self.says("GPU 0: NVIDIA GeForce RTX 3090")
        self.free(23982)

    def driver_replaced(self) -> None:
        self.listed.write_text("Available devices:\n  (none)\n")
        self.says("Failed to initialize NVML: Driver/library version mismatch")

    def _program(self, path: Path, script: str) -> None:
        new = path.with_suffix(".new")  # one that runs cannot be written to
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        new.replace(path)

    def says(self, text: str) -> None:
        self._program(
            self.programs / "nvidia-smi", f'case "$*" in -L) echo "{text}";; *) echo "1234, blender, 9000 MiB";; esac'
        )

    def free(self, mebibytes: int) -> None:
        self.listed.write_text("Available devices:\n" + CARD.format(free=mebibytes))

    def environment(self) -> dict[str, str]:
        return {
            "HOLDFAST_CARDS": f"left={ADDRESS}",
            "HOLDFAST_REQUIRE_GPU": "yes",
            "HOLDFAST_ROOT": str(self.root),
            "HOLDFAST_LLAMA_SERVER": str(self.server),
            "HOLDFAST_LEASE_VRAM": "21000",
            "HOLDFAST_LEASE_VRAM_WAIT_S": "0.6",
            "CUDA_VISIBLE_DEVICES": UUID,
            "HOLDFAST_GPUS": UUID,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }


@pytest.fixture
def card(site: Site) -> FakeCard:
    return FakeCard(site)


def refused(server: Server) -> str:
    with pytest.raises(RuntimeError) as told:
        generate(server, 5)
    text = str(told.value)
    assert text.startswith("500: ") and "Fix: " in text, text
    return text


def parked(coder: Server, reasoner: Server, site: Site) -> None:
    """The coder has been loaded once and has given its GPU to the reasoner, which is idle."""
    assert whole(generate(coder, 5), 5) and whole(generate(reasoner, 5), 5)
    until(lambda: [found.model for found in runners(site.weights)] == ["reasoner"])


HARMS: list[tuple[Callable[[FakeCard], object], str]] = [
    (lambda card: shutil.rmtree(card.device), "GPU left (0000:01:00.0): there is no device at that address"),
    (lambda card: card.free(2000), "where 2000 of 24135 MiB are free; on the cards: 1234, blender, 9000 MiB"),
    (
        FakeCard.driver_replaced,
        "llama-server can use none; planned: left (0000:01:00.0); nvidia-smi says: Failed to initialize",
    ),
]


def test_device_lost_under_a_running_server(card: FakeCard, site: Site, serve: Callable[..., Server]) -> None:
    """Its requests fail with the reason; the other instance goes on; and when the card is back, so does it."""
    coder, reasoner = serve("coder", **card.environment(), GGML_BACKEND_PATH="/x"), serve("reasoner")
    for harm, words in HARMS:
        parked(coder, reasoner, site)
        harm(card)
        assert words in refused(coder)
        assert [found.model for found in runners(site.weights)] in ([], ["reasoner"])
        assert whole(generate(reasoner, 5), 5)
        assert words in refused(coder)
        card.whole()
    parked(coder, reasoner, site)
    assert coder.starts == 1, "Ollama itself was never the worse for it"


def test_first_load_is_refused_too_and_works_when_the_card_is_back(
    card: FakeCard, serve: Callable[..., Server]
) -> None:
    coder = serve("coder", **card.environment())
    card.free(100)
    assert "where 100 of 24135 MiB are free" in refused(coder)
    card.whole()
    assert whole(generate(coder, 5), 5)


@pytest.mark.parametrize("loaded", [False, True], ids=["first load", "parked"])
def test_lease_directory_that_is_gone(loaded: bool, site: Site, serve: Callable[..., Server]) -> None:
    coder, reasoner = serve("coder"), serve("reasoner")
    if loaded:
        parked(coder, reasoner, site)
    site.lease.rename(site.folder / "away")
    site.lease.write_text("not a folder")
    told = refused(coder)
    assert (
        f"cannot write {site.lease}/gpu0.queue/coder: Not a directory" in told
        and str(site.lease) in told.split("Fix:")[1]
    )
    site.lease.unlink()
    (site.folder / "away").rename(site.lease)
    assert whole(generate(coder, 5), 5)
    assert re.search("error: cannot write", coder.said())


# A file system of a few blocks, mounted for one process alone: others see it through that one.
_SMALL = """
mount -t tmpfs -o size=64k none "$1"
echo mounted
read rest
"""


class SmallDisk:
    """A folder on a file system that is soon full."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._process = subprocess.Popen(
            [*ALONE, "sh", "-c", _SMALL, "sh", str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == "mounted\n"
        self.folder = Path(f"/proc/{self._process.pid}/root{place}")
        self.filler = self.folder / "filler"

    def fill(self) -> None:
        with self.filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))

    def umount(self) -> None:
        self._process.communicate("")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "small")
    yield made
    made.umount()


@pytest.mark.parametrize("loaded", [False, True], ids=["first load", "parked"])
def test_full_disk_under_running_servers(
    loaded: bool, small_disk: SmallDisk, site: Site, serve: Callable[..., Server]
) -> None:
    """Whoever asks is told, of both; nobody hangs, and all is well again when there is room."""
    both = [serve(name, HOLDFAST_LEASE_DIR=str(small_disk.folder)) for name in ("coder", "reasoner")]
    if loaded:
        parked(*both, site)
    small_disk.fill()
    told = refused(both[0])
    assert f"cannot write {small_disk.folder}/gpu0." in told and "No space left on device" in told, told
    assert f"df -h {small_disk.folder}" in told.split("Fix:")[1]
    assert [found.model for found in runners(site.weights) if found.model == "coder"] == []
    assert "No space left on device" in refused(both[0]), "and again"
    small_disk.filler.unlink()
    assert all(whole(generate(server, 5), 5) for server in both)
    assert [server.starts for server in both] == [1, 1]


# Run where a file system may be mounted for this process alone: a lease directory without a free block.
_FULL = """
mount -t tmpfs -o size=16k none "$1"
cat /dev/zero > "$1/filler" 2>/dev/null
exec "$2" -I -c '
import sys
sys.path.insert(0, sys.argv[1])
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue
from holdfast_onhost.lease.refusal import Refused
for attempt in (Queue(sys.argv[2], ["gpu0"], "coder").join, Leases(sys.argv[2], ["gpu0"], "coder").take):
    try:
        print(attempt())
    except Refused as why:
        print(why)
' "$3" "$1"
"""


def test_full_disk_is_an_error_that_names_it(tmp_path: Path) -> None:
    words = ["sh", "-c", _FULL, "sh", str(tmp_path), sys.executable, str(ROOT / "src")]
    done = subprocess.run([*ALONE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    queue, leases = done.stdout.splitlines()
    assert (
        f"cannot write {tmp_path}/gpu0.queue/coder: No space left on device" in queue and f"df -h {tmp_path}" in queue
    )
    assert f"cannot write {tmp_path}/gpu0.holder: No space left on device" in leases and "Fix: " in leases


@pytest.mark.parametrize("loaded", [False, True], ids=["first load", "loaded"])
def test_client_that_asks_for_the_cpu(loaded: bool, card: FakeCard, site: Site, serve: Callable[..., Server]) -> None:
    """num_gpu: 0 is refused, fewer layers than all are all; the control: without planned GPUs it is the client's choice."""
    coder, free = serve("coder", **card.environment(), GGML_BACKEND_PATH="/x"), serve("reasoner", lease="")
    if loaded:
        assert whole(generate(coder, 5), 5)
    with pytest.raises(RuntimeError) as told:
        generate(coder, 5, options={"num_gpu": 0})
    assert "num_gpu: 0" in str(told.value) and "Fix: leave num_gpu out" in str(told.value)
    assert [found for found in runners(site.weights) if found.model == "coder"] == []
    assert whole(generate(coder, 5, options={"num_gpu": 1}), 5)
    argv = next(found.argv for found in runners(site.weights) if found.model == "coder")
    assert argv[argv.index("-ngl") + 1] == "all"
    assert whole(generate(free, 5, options={"num_gpu": 0}), 5)
    argv = next(found.argv for found in runners(site.weights) if found.model == "reasoner")
    assert argv[argv.index("-ngl") + 1] == "0"
