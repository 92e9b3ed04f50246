"""The fetcher: whole and checked, or not at all; and what it says when it cannot."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.paths import ROOT
from holdfast_onhost import fetch_disk
from holdfast_onhost.fetch import fetch, main
from holdfast_onhost.fetch_errors import FetchError, Unreachable

from .conftest import QUICK, Source

PROGRAM = ROOT / "src" / "holdfast_onhost" / "fetch.py"


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, **values: object) -> None:
        self.seen.append((event, values))

    def of(self, event: str) -> list[dict[str, object]]:
        return [values for name, values in self.seen if name == event]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "file"


@pytest.mark.parametrize("mode", ["location", "redirect", "plain", "norange"])
def test_file_arrives_whole_from_every_kind_of_server(source: Source, target: Path, mode: str) -> None:
    source.behaviour.mode = mode
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data
    assert target.stat().st_mode & 0o777 == 0o644
    assert leftovers(target.parent) == ["file"]


def test_file_address_and_unknown_size(source: Source, target: Path, tmp_path: Path) -> None:
    there = tmp_path / "with space"
    there.write_bytes(source.data)
    events = Events()
    got = fetch("file://" + str(there).replace(" ", "%20"), None, None, str(target), report=events)
    assert got == source.sha256
    assert target.read_bytes() == source.data
    assert events.of("done")[0]["bytes"] == len(source.data)


def test_nothing_is_asked_for_when_it_is_there_and_right(source: Source, target: Path) -> None:
    target.write_bytes(source.data)
    events = Events()
    fetch(source.url, len(source.data), source.sha256, str(target), report=events)
    assert source.behaviour.requests == []
    assert events.of("present")
    target.write_bytes(source.data[:-1] + b"x")  # the same size, another content: asked for
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert len(source.behaviour.requests) == 1
    assert target.read_bytes() == source.data


@pytest.mark.parametrize("fault", ["stall_after", "drop_after"])
def test_stalls_and_drops_cost_not_a_byte(source: Source, target: Path, fault: str) -> None:
    setattr(source.behaviour, fault, 600_000)
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data
    ranges = [line.split()[2] for line in source.behaviour.requests[1:]]
    assert ranges == [f"bytes={start}-{len(source.data) - 1}" for start in (600_000, 1_200_000, 1_800_000)]


@pytest.mark.parametrize("statuses", [[429, 500, 503], [408, 502, 425]])
def test_busy_servers_are_asked_again(source: Source, target: Path, statuses: list[int]) -> None:
    source.behaviour.blob_statuses = list(statuses)
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data
    assert len(source.behaviour.requests) == len(statuses) + 1


def test_expired_signed_address_is_asked_for_anew(source: Source, target: Path) -> None:
    source.behaviour.mode = "redirect"
    source.behaviour.blob_statuses = [200, 403]  # origin: go there; there: expired
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data


def test_forbidden_by_the_origin_is_final(source: Source, target: Path) -> None:
    source.behaviour.blob_statuses = [403]
    with pytest.raises(FetchError, match="HTTP 403") as caught:
        fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert not isinstance(caught.value, Unreachable)
    assert len(source.behaviour.requests) == 1


def test_wrong_content_is_told_and_nothing_of_it_stays(source: Source, target: Path) -> None:
    source.behaviour.corrupt = True
    with pytest.raises(FetchError) as caught:
        fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    message = caught.value.render()
    assert source.url in message
    assert f"expected sha256:{source.sha256}" in message
    assert "got sha256:" in message
    assert "Fix: " in message
    assert leftovers(target.parent) == []


def test_wrong_rest_of_an_earlier_run_is_thrown_away(source: Source, target: Path) -> None:
    part = target.with_name("file.part")
    source.behaviour.drop_after = 500_000
    source.behaviour.blob_statuses = [200, 404]
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert part.stat().st_size == 500_000
    with part.open("r+b") as file:
        file.write(b"rotten")
    source.behaviour.drop_after = 0
    events = Events()
    fetch(source.url, len(source.data), source.sha256, str(target), report=events, manner=QUICK)
    assert len(events.of("again")) == 1
    assert target.read_bytes() == source.data


def test_after_another_boot_only_what_was_synced_counts(source: Source, target: Path) -> None:
    part = target.with_name("file.part")
    part.write_bytes(source.data[:900_000])
    Path(f"{part}.json").write_text(json.dumps({"boot": "another", "synced": 400_000}))
    events = Events()
    fetch(source.url, len(source.data), source.sha256, str(target), report=events, manner=QUICK)
    assert events.of("done")[0]["resumed_at"] == 400_000
    assert target.read_bytes() == source.data


def test_complete_part_of_unknown_size_is_finished_without_another_download(source: Source, target: Path) -> None:
    part = target.with_name("file.part")
    part.write_bytes(source.data)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    Path(f"{part}.json").write_text(json.dumps({"boot": boot, "synced": 0}))
    events = Events()
    fetch(source.url, None, source.sha256, str(target), report=events, manner=QUICK)
    assert events.of("done")[0]["resumed_at"] == len(source.data)
    assert target.read_bytes() == source.data


def test_server_that_ignores_ranges_is_read_from_the_start(source: Source, target: Path) -> None:
    source.behaviour.mode = "norange"
    source.behaviour.drop_after = 600_000
    source.behaviour.blob_statuses = [200, 503]
    done = threading.Event()

    def heal() -> None:
        while len(source.behaviour.requests) < 2 and not done.is_set():
            time.sleep(0.001)
        source.behaviour.drop_after = 0

    healer = threading.Thread(target=heal)
    healer.start()
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    done.set()
    healer.join()
    assert target.read_bytes() == source.data


def test_missing_file_unreachable_server_and_wrong_size(source: Source, target: Path) -> None:
    absent = source.url.replace(source.sha256, "0" * 64)
    with pytest.raises(FetchError, match=f"{'0' * 64}: HTTP 404"):
        fetch(absent, 5, "0" * 64, str(target), manner=QUICK)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9.*4 tries"):
        fetch("http://127.0.0.1:9/x", 5, "0" * 64, str(target), manner=QUICK)
    with pytest.raises(FetchError, match=f"expected 5 bytes, the server has {len(source.data)}"):
        fetch(source.url, 5, source.sha256, str(target), manner=QUICK)
    with pytest.raises(FetchError, match="No such file"):
        fetch("file:///nowhere/at/all", 5, "0" * 64, str(target), manner=QUICK)
    assert not target.exists()


def test_full_disk_is_told_before_the_first_byte(
    source: Source, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: len(source.data) - 1)
    with pytest.raises(FetchError, match=f"{len(source.data)} bytes are needed.*1 too few"):
        fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert source.behaviour.requests == []
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: len(source.data))
    fetch(source.url, len(source.data), source.sha256, str(target), manner=QUICK)
    assert target.read_bytes() == source.data


def test_disk_that_fills_on_the_way_keeps_what_it_has(source: Source, target: Path) -> None:
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "from holdfast_onhost.fetch import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [source.url, str(len(source.data)), source.sha256, str(target)]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "File too large; 1000003 bytes are still needed" in done.stderr
    assert not target.exists()
    again = subprocess.run([sys.executable, "-I", str(PROGRAM), *command], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert '"resumed_at": 1000000' in again.stdout
    assert target.read_bytes() == source.data


def test_kills_at_random_moments_cost_little_and_never_show_half_a_file(source: Source, target: Path) -> None:
    source.behaviour.rate = 4_000_000  # the file takes half a second
    command = [sys.executable, "-I", "-S", str(PROGRAM), source.url, str(len(source.data)), source.sha256, str(target)]
    before = 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # Killed once some more has come, however slow this machine is: the largest other file beside the target is its part.
        deadline = time.monotonic() + 30
        while (have := max((f.stat().st_size for f in target.parent.rglob("*") if f.is_file()), default=0)) <= before:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
        before = have
        assert not target.exists() or target.read_bytes() == source.data
        process.kill()
        process.communicate()
    source.behaviour.rate = 0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done"
    assert events[-1]["resumed_at"] > 0
    assert target.read_bytes() == source.data


def _fetch_in_child(url: str, size: int, sha256: str, path: str) -> None:
    fetch(url, size, sha256, path, manner=QUICK)


def test_two_at_once_do_not_disturb_each_other(source: Source, target: Path) -> None:
    source.behaviour.rate = 20_000_000
    context = multiprocessing.get_context("fork")
    arguments = (source.url, len(source.data), source.sha256, str(target))
    children = [context.Process(target=_fetch_in_child, args=arguments) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert target.read_bytes() == source.data
    assert leftovers(target.parent) == ["file"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["http://x/", "12 MB", "0" * 64, "p"], "number of bytes"),
        (["http://x/", "12", "abc", "p"], "64 lower-case hex"),
        (["http://x/", "12"], "required"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_reader_of_the_progress_may_leave(source: Source, target: Path) -> None:
    source.behaviour.rate = 20_000_000
    command = [sys.executable, "-I", str(PROGRAM), source.url, str(len(source.data)), source.sha256, str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    assert json.loads(process.stdout.readline())["event"] == "start"
    process.stdout.close()
    assert process.wait(20) == 0, process.stderr.read()
    process.stderr.close()
    assert target.read_bytes() == source.data
