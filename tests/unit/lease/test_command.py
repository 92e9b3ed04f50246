"""What the supervisor reads: the unit's environment, and Ollama's words for llama-server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.paths import ROOT
from holdfast_onhost.lease import command
from holdfast_onhost.lease.command import Plan
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.settings import Settings, address

PROGRAM = ROOT / "src" / "holdfast_onhost" / "lease" / "supervisor.py"
ARGV = ["--model", "/m", "--port", "4000", "--host", "127.0.0.1", "--offline", "-c", "8192", "-np", "2"]
NEEDED = {
    "HOLDFAST_LEASE_DIR": "/run/holdfast/lease", "HOLDFAST_LEASE": "right left", "HOLDFAST_INSTANCE": "coder",
    "HOLDFAST_LLAMA_SERVER": "/x/llama-server", "HOME": "/h",
}  # fmt: skip


@pytest.mark.parametrize(("context", "given"), [(0, "8192"), (4096, "4096"), (8192, "8192"), (16384, "8192")])
def test_context_is_at_most_the_planned_one(context: int, given: str) -> None:
    out = command.real(ARGV, "/h/x.sock", Plan(context))
    assert out[out.index("-c") + 1] == given and out[out.index("--host") + 1] == "/h/x.sock"
    assert "127.0.0.1" in ARGV, "the original is left alone"


def test_context_of_the_whole_model_is_too_much() -> None:
    out = command.real([*ARGV[:8], "0"], "/h/x.sock", Plan(4096))
    assert out[-1] == "4096"


@pytest.mark.parametrize(
    "asked",
    [
        [],
        ["-ngl", "20"],
        ["--n-gpu-layers", "1"],
        ["--split-mode", "none", "--main-gpu", "0"],
        ["-ngl", "9", "-mg", "1"],
    ],
    ids=" ".join,
)
def test_all_layers_are_on_all_planned_gpus(asked: list[str]) -> None:
    given = [*ARGV, *asked, "-b", "512"]
    out = command.real(given, "/h/x.sock", Plan(4096, gpus=True))
    assert out[-4:] == ["-b", "512", "-ngl", "all"] and not {"20", "--main-gpu", "none", "9"} & set(out)
    assert command.real(given, "/h/x.sock", Plan())[10:] == given[10:], "on the CPU a client may choose"


@pytest.mark.parametrize(("kind", "shifts"), [("f16", True), ("bf16", True), ("q8_0", False), ("q4_0", False)])
def test_a_quantized_cache_is_not_shifted(kind: str, shifts: bool) -> None:
    given = [*ARGV, "--context-shift", "--cache-type-k", kind, "--cache-type-v", kind]
    assert ("--context-shift" in command.real(given, "/h/x.sock", Plan(4096))) == shifts
    assert "--context-shift" in command.real([*ARGV, "--context-shift"], "/h/x.sock", Plan()), (
        "f16 is llama-server's own default"
    )
    assert command.loaded_with(given)["shift"] is True, "Ollama believes that it is"


def test_cpu_is_refused_where_gpus_are_planned() -> None:
    with pytest.raises(Refused, match=r"num_gpu: 0.*Fix: leave num_gpu out"):
        command.real([*ARGV, "-ngl", "0"], "/h/x.sock", Plan(gpus=True))
    assert "0" in command.real([*ARGV, "--main-gpu", "0"], "/h/x.sock", Plan())


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["-b", "512", "-ub", "512"], ["-b", "512", "-ub", "512"]),
        (["-b", "64", "-ub", "64"], ["-b", "64", "-ub", "64"]),
        (["-b", "4096", "-ub", "4096"], ["-b", "512", "-ub", "512"]),
        (["-b", "0", "-ub", "2048"], ["-b", "512", "-ub", "512"]),
        ([], ["-b", "512", "-ub", "512"]),  # llama-server's own default for -b is 2048
        (["--embedding", "-b", "2048", "-ub", "2048"], ["--embedding", "-b", "2048", "-ub", "2048"]),
    ],
    ids=lambda words: " ".join(words) or "none",
)
def test_batch_is_at_most_the_planned_one(asked: list[str], given: list[str]) -> None:
    assert command.real([*ARGV, *asked], "/h/x.sock", Plan(batch=512))[len(ARGV) :] == given
    assert command.real([*ARGV, *asked], "/h/x.sock", Plan())[len(ARGV) :] == asked, "not planned: as Ollama likes"


def test_number_that_is_none() -> None:
    with pytest.raises(Refused, match=r"-b 'many'.* Fix: "):
        command.real([*ARGV, "-b", "many"], "/h/x.sock", Plan(batch=512))


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], {}),
        (["-b", "256", "-ub", "256"], {"num_batch": 256}),
        (["-t", "3"], {"num_thread": 3}),
        (["--load-mode", "none"], {"use_mmap": False}),
        (["--load-mode", "dio"], {}),
        (["--split-mode", "none", "--main-gpu", "1"], {"main_gpu": 1}),
        (["--spec-draft-n-max", "4"], {"draft_num_predict": 4}),
    ],
    ids=str,
)
def test_options_that_do_not_load_it_anew(argv: list[str], options: dict[str, object]) -> None:
    told = command.loaded_with([*ARGV, *argv])
    assert told == {"options": {"num_gpu": -1, "num_thread": 0} | options, "shift": False}
    assert command.loaded_with([*ARGV, "--context-shift"])["shift"] is True


def test_another_release_of_ollama_is_named() -> None:
    assert command.value(ARGV, "--port") == "4000"
    with pytest.raises(Refused, match=r"without --port: --model /m.* Fix: "):
        command.value(["--model", "/m"], "--port")


def test_settings() -> None:
    read = Settings.read(
        NEEDED | {"HOLDFAST_LEASE_MIN_HOLD_S": "2.5", "HOLDFAST_LEASE_VRAM": "21000 9", "HOLDFAST_REQUIRE_GPU": "0"}
    )
    assert read.resources == ("left", "right") and read.min_hold_s == 2.5 and read.vram_mib == (21000, 9)
    assert not read.require_gpu and Settings.read(NEEDED).require_gpu and Settings.read(NEEDED).min_hold_s == 60
    assert Settings.read({k: v for k, v in NEEDED.items() if "LEASE" not in k}).resources == ()
    assert (read.batch, read.load_limit_s) == (0, 1800)
    read = Settings.read(NEEDED | {"HOLDFAST_BATCH": "512", "HOLDFAST_LOAD_LIMIT_S": "90"})
    assert (read.batch, read.load_limit_s) == (512, 90)


def test_cards_of_the_unit_are_those_of_llama_server_whatever_ollama_chose() -> None:
    chosen = {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    both = Settings.read(NEEDED | chosen | {"HOLDFAST_GPUS": "GPU-a,GPU-b"})
    assert both.environment == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"} and both.visible == ("GPU-a", "GPU-b")
    assert Settings.read(NEEDED | chosen | {"HOLDFAST_GPUS": "-1"}).environment == {"CUDA_VISIBLE_DEVICES": "-1"}
    assert Settings.read(NEEDED | chosen).environment == {}, "no unit has said anything"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"HOLDFAST_LEASE_DIR": ""}, "HOLDFAST_LEASE_DIR is not set"),
        ({"HOLDFAST_INSTANCE": ""}, "HOLDFAST_INSTANCE is not set"),
        ({"HOLDFAST_LEASE": "../x"}, "'../x' in HOLDFAST_LEASE"),
        ({"HOLDFAST_LEASE_MIN_HOLD_S": "soon"}, "'soon' is not a number"),
        ({"HOLDFAST_CONTEXT": "-1"}, "'-1' is not a number"),
        ({"HOLDFAST_BATCH": "x"}, "HOLDFAST_BATCH: 'x' is not a number"),
        ({"HOLDFAST_LOAD_LIMIT_S": "inf"}, "'inf' is not a number"),
        ({"HOLDFAST_LEASE_VRAM": "1 x"}, "'1 x' is not a list"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, str], words: str) -> None:
    with pytest.raises(Refused) as told:
        Settings.read(NEEDED | change)
    assert words in str(told.value) and "Fix: " in str(told.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:11435", ("127.0.0.1", 11435)),
        ("http://127.0.0.1:11435", ("127.0.0.1", 11435)),
        ("http://box", ("box", 80)),
        ("0.0.0.0", ("127.0.0.1", 11434)),
        ("", ("127.0.0.1", 11434)),
    ],
)
def test_where_ollama_listens(host: str, expected: tuple[str, int]) -> None:
    assert address(host) == expected


def run(link: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(link), *words], env=environment, capture_output=True, text=True, check=False
    )


def test_looking_for_devices_is_the_real_program_even_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "llama-server"
    link.symlink_to(PROGRAM)
    done = run(link, {"HOLDFAST_LLAMA_SERVER": "/bin/echo"}, "--list-devices", "--offline")
    assert done.stdout == "--list-devices --offline\n"
    done = run(link, {}, "--list-devices")
    assert done.returncode == 1 and "error: HOLDFAST_LLAMA_SERVER: ''" in done.stderr and "Fix: " in done.stderr
    done = run(link, {}, *ARGV)
    assert done.returncode == 1 and done.stderr.startswith("error: HOLDFAST_INSTANCE is not set. Fix: ")
    assert len(done.stderr.splitlines()) == 1, "Ollama hands single lines on"
