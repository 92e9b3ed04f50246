"""What everything around llama-server costs: this unit, the same Ollama without our part, and a llama-server by hand, in turn."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from holdfast.bench.onhost import machine
from holdfast.bench.onhost.client import PATIENCE_S, Failed, ask, generate, question, unload, words_for

_LENGTH = 128  # tokens of the prompt
_LONGER = 4  # times the tokens of the other runs: what is compared differs little
_BLOCKS = 4
_START_S = 120.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def compare(role: str, one: dict[str, Any], job: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Rounds of one generation each, by turns, in changing order; in blocks, each with processes of its own.

    ``rounds``: for each the tokens a second of the decode as the server reports it and by this clock over the whole request,
    of unit, plain and bare. ``others``: the share of the processor that went to others meanwhile. ``problem`` where there is
    nothing to compare with.
    """
    rounds: list[dict[str, dict[str, float]]] = []
    others: list[float] = []

    def begin(number: int) -> None:
        tell("step", n=len(rounds) + number + 1, of=job["compare"], label=f"{role}: comparison")

    try:
        words = words_for(one["port"], one["model"], [_LENGTH])[_LENGTH]
        blocks = min(_BLOCKS, job["compare"])
        for block in range(blocks):
            count = job["compare"] // blocks + (block < job["compare"] % blocks)
            tell("note", text=f"{role}: block {block + 1} of {blocks}: unit, plain Ollama, bare llama-server by turns")
            seen, share = together(one, words, job["tokens"] * _LONGER, count, begin)
            rounds, others = rounds + seen, [*others, share]
    except (Failed, OSError, ValueError, ArithmeticError) as error:
        return {"role": role, "problem": str(error) or type(error).__name__, "rounds": []}
    return {"role": role, "problem": "", "rounds": rounds, "others": sum(others) / len(others)}


def together(
    one: dict[str, Any], words: int, tokens: int, count: int, begin: Callable[[int], None]
) -> tuple[list[dict[str, dict[str, float]]], float]:
    """One block of ``count`` rounds, each of which is told to ``begin``; all three are loaded anew, for where a process happens
    to lie on the processor decides much."""
    port, model = one["port"], one["model"]
    unload(port, model)
    generate(port, model, 1, 1)
    command = command_of(machine.processes(one["unit"]), one["supervisor"])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-"))
        # Where it is now: an apply may switch the link meanwhile.
        environment, release = read_environment(one["environment"]), os.path.realpath(one["release"])
        plain = stack.enter_context(ollama(folder, environment, release))
        bare = stack.enter_context(llama_server(folder, command, environment, release))
        ways: dict[str, Callable[[], dict[str, float]]] = {
            "unit": lambda: generate(port, model, words, tokens),
            "plain": lambda: generate(plain, model, words, tokens),
            "bare": lambda: complete(bare, words, tokens),
        }
        for way in ways.values():
            way()
        others = machine.Others(one["unit"])
        names, rounds = list(ways), []
        for number in range(count):
            begin(number)
            names = names[1:] + names[:1]
            seen = {name: ways[name]() for name in names}
            rounds.append({name: rates(seen[name]) for name in ways})
        return rounds, others.share()


def rates(seen: dict[str, float]) -> dict[str, float]:
    """Tokens a second: of the decode, and of the whole request."""
    return {"decode": seen["tokens"] / seen["decode_s"], "wall": seen["tokens"] / seen["wall_s"]}


def command_of(processes: dict[int, list[str]], supervisor: str) -> list[str]:
    """The words with which the unit's llama-server was started: the one that is not ours, where ours stands before it."""
    found = [words for words in processes.values() if "--model" in words and supervisor not in words]
    if len(found) != 1:
        raise Failed(f"{len(found)} llama-servers run in this unit; one was expected")
    return found[0]


def read_environment(path: str) -> dict[str, str]:
    """The variables of an environment file as systemd reads the ones that Holdfast writes."""
    out = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                out[name] = value.strip('"')
    return out


@contextlib.contextmanager
def ollama(folder: str, environment: dict[str, str], release: str) -> Iterator[int]:
    """The same Ollama with the same settings, without our part and without its unit's confinement. Yields its port."""
    port = free_port()
    own = {name: value for name, value in environment.items() if not name.startswith("HOLDFAST_")}
    own |= {"PATH": os.environ.get("PATH", ""), "HOME": folder, "OLLAMA_HOST": f"127.0.0.1:{port}"}
    with started([f"{release}/bin/ollama", "serve"], own, folder):
        answers(port, "/api/version", folder)
        yield port


@contextlib.contextmanager
def llama_server(folder: str, command: list[str], environment: dict[str, str], release: str) -> Iterator[int]:
    """The unit's llama-server once more, started by hand with the same words on a port of its own. Yields that."""
    port, words = free_port(), list(command)
    for option, value in (("--host", "127.0.0.1"), ("--port", str(port))):
        words[words.index(option) + 1] = value
    own = {name: value for name, value in environment.items() if name.startswith("LLAMA_ARG_")}
    own |= {"PATH": os.environ.get("PATH", ""), "HOME": folder, "LD_LIBRARY_PATH": f"{release}/lib/ollama"}
    with started(words, own, folder):
        answers(port, "/health", folder)
        yield port


@contextlib.contextmanager
def started(words: list[str], environment: dict[str, str], folder: str) -> Iterator[None]:
    """A process that ends with this block, or with us."""
    libc = ctypes.CDLL(None)
    with open(os.path.join(folder, "log"), "ab") as log:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int, path: str, folder: str) -> None:
    """Wait until it does."""
    end = time.monotonic() + _START_S
    while True:
        try:
            ask(port, "GET", path, timeout=5)
            return
        except Failed:
            if time.monotonic() > end:
                with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
                    raise Failed(f"what is compared with does not start: {log.read()[-300:]}") from None
            time.sleep(0.1)


def free_port() -> int:
    """One that the kernel lends now; nobody keeps it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def complete(port: int, words: int, tokens: int) -> dict[str, float]:
    """The same generation, asked of llama-server itself with what Ollama would tell it."""
    asked = question(words)
    turns = [{"role": "system", "content": asked["system"]}, {"role": "user", "content": asked["prompt"]}]
    begin = time.monotonic()
    prompt = ask(port, "POST", "/apply-template", {"messages": turns})["prompt"]
    body = {
        "prompt": prompt, "stream": True, "n_predict": tokens, "temperature": 0, "top_k": 40, "top_p": 0.9, "min_p": 0,
        "repeat_penalty": 1.0, "repeat_last_n": 64, "cache_prompt": True,
    }  # fmt: skip
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        answer = link.getresponse()
        last: dict[str, Any] = {}
        for line in answer:
            if line.startswith(b"data: {"):
                last = json.loads(line[6:])
        end = time.monotonic()
        timings = last["timings"]
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        raise Failed(f"llama-server by hand: {error or type(error).__name__}") from error
    finally:
        link.close()
    return {"tokens": timings["predicted_n"], "decode_s": timings["predicted_ms"] / 1e3, "wall_s": end - begin}
