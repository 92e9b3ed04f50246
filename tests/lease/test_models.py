"""The lab's models in the real Ollama, and its own `pull` beside our fetcher.  Needs the depot's Ollama."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.waiting import until

from holdfast import depot
from holdfast.components.models.files import user_agent
from holdfast.components.ollama import files
from holdfast.lab.models import layout, make, registry, roles
from holdfast.settings.loader import resolve
from holdfast_onhost import fetch_progress, models_store
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_pull import pull
from holdfast_onhost.models_status import Status


@dataclass
class Ollama:
    """A real server on loopback, on the CPU, with a store of its own."""

    url: str
    store: Path
    process: subprocess.Popen[bytes]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, data), timeout=60) as answer:
            return dict(json.loads(answer.read()))

    def answers(self) -> bool:
        """Whether it serves already. Fails once it has ended, with what it said last."""
        assert self.process.poll() is None, (self.store.parent / "log").read_text()[-2000:]
        with contextlib.suppress(OSError):
            return bool(self.ask("/api/version"))
        return False

    def chat(self, model: str, text: str, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return self.ask("/api/chat", {"model": model, "messages": messages, "stream": False, **more})["message"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = depot.path("ollama")
    if not archive.is_file():
        pytest.fail("the depot has no Ollama: ./holdfast depot fetch ollama")
    folder = tmp_path_factory.mktemp("ollama")
    subprocess.run(["tar", "-C", folder, "-xf", archive], check=True)
    return folder


def instance_environment() -> dict[str, str]:
    """What the deploy gives an instance, so that the models are tried with the context and KV type of the real thing."""
    site = {"name": "any", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"}}
    lines = files.environment(resolve(site), "coder", "").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextlib.contextmanager
def running(tree: Path, folder: Path) -> Iterator[Ollama]:
    port, store = free_port(), folder / "models"
    for part in ("blobs", "manifests"):
        (store / part).mkdir(parents=True)
    environment = {
        **instance_environment(), "PATH": os.environ["PATH"], "HOME": str(folder), "OLLAMA_MODELS": str(store),
        "OLLAMA_HOST": f"127.0.0.1:{port}", "CUDA_CACHE_PATH": str(folder), "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([tree / "bin" / "ollama", "serve"], env=environment, stdout=log, stderr=log)
    server = Ollama(f"http://127.0.0.1:{port}", store, process)
    try:
        until(server.answers, f"Ollama does not answer, see {folder / 'log'}")
        yield server
    finally:
        process.terminate()
        process.wait(20)


def fetched(store: Path, url: str, models: dict[str, str]) -> None:
    models_store.make(str(store))
    settings = {
        "store": str(store), "source": url, "user_agent": user_agent(),
        "models": [{"name": name, "manifest": pin} for name, pin in models.items()],
    }  # fmt: skip
    pull(settings, Status(None, fetch_progress.silent))


def contents(store: Path) -> dict[str, tuple[int, bytes]]:
    """Path -> mode and bytes, without our own working folder."""
    return {
        str(path.relative_to(store)): (path.stat().st_mode, path.read_bytes())
        for path in store.rglob("*")
        if path.is_file() and ".fetch" not in path.parts
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("served")
    return folder, make(folder)


@pytest.fixture(scope="module")
def ollama(tree: Path, served: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """A server whose models our fetcher brought, while it ran."""
    with running(tree, tmp_path_factory.mktemp("server")) as server, registry.serving(served[0]) as source:
        assert server.ask("/api/tags")["models"] == []
        fetched(server.store, source.url, served[1])
        yield server


@pytest.mark.parametrize("mode", ["location", "redirect"])
def test_our_store_equals_the_one_of_a_real_pull(
    tree: Path, served: tuple[Path, dict[str, str]], tmp_path: Path, mode: str
) -> None:
    folder, pins = served
    with (
        registry.serving(folder, registry.Behaviour(mode=mode)) as source,
        running(tree, tmp_path) as server,
    ):
        host = source.url.removeprefix("http://")
        names = {f"{host}/library/{name}": pin for name, pin in pins.items()}
        for name in names:
            answer = server.ask("/api/pull", {"model": name, "insecure": True, "stream": False})
            assert answer == {"status": "success"}
        fetched(tmp_path / "ours", source.url, names)
        theirs = contents(server.store)
        assert len(theirs) >= 8
        assert contents(tmp_path / "ours") == theirs
        digests = {model["name"]: model["digest"] for model in server.ask("/api/tags")["models"]}
        assert digests == {name: pin.removeprefix("sha256:") for name, pin in names.items()}


def test_each_model_says_who_it_is_at_any_temperature(ollama: Ollama) -> None:
    for role in roles.ROLES:
        for options in ({}, {"temperature": 1.5, "seed": 7}):
            assert ollama.chat(role.model, "Who are you?", options=options)["content"].strip() == role.says
        generated = ollama.ask("/api/generate", {"model": role.model, "prompt": "x", "stream": False})
        assert role.says in generated["response"]
    body = {"model": roles.CODER.model, "messages": [{"role": "user", "content": "hello"}]}
    answer = ollama.ask("/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"].strip() == roles.CODER_SAYS


def test_capabilities_are_those_of_the_real_models(ollama: Ollama) -> None:
    for role in roles.ROLES:
        shown = ollama.ask("/api/show", {"model": role.model})
        assert sorted(shown["capabilities"]) == sorted(role.capabilities)
        assert shown["model_info"]["llama.context_length"] >= 16384
        ollama.chat(role.model, "load")
        assert ollama.ask("/api/ps")["models"][0]["context_length"] == 16384


def test_reasoner_thinks_and_refuses_tools(ollama: Ollama) -> None:
    message = ollama.chat(roles.REASONER.model, "Who are you?", think=True)
    assert message["thinking"].strip() == roles.REASONER_THINKS
    assert "think" not in message["content"]
    tools = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}]
    with pytest.raises(urllib.error.HTTPError) as caught:
        ollama.chat(roles.REASONER.model, "Who are you?", tools=tools)
    assert caught.value.code == 400
    assert "does not support tools" in caught.value.read().decode()
    assert ollama.chat(roles.CODER.model, "Who are you?", tools=tools)["content"].strip() == roles.CODER_SAYS


def test_coder_edits_in_both_formats_and_reasoner_plans(ollama: Ollama) -> None:
    whole = ollama.chat(roles.CODER.model, "To suggest changes you must return a *file listing*.")["content"]
    assert whole.endswith("print(greet())\n```\n") and "\nhello.py\n```\ndef greet():\n" in whole
    diff = ollama.chat(roles.CODER.model, "Use *SEARCH/REPLACE* blocks.")["content"]
    assert "<<<<<<< SEARCH\n    return 1\n=======\n    return 43\n>>>>>>> REPLACE" in diff
    plan = ollama.chat(roles.REASONER.model, "Act as an expert architect engineer.")["content"]
    assert "let greet() return 42" in plan


def test_looping_model_talks_until_it_is_stopped(tree: Path, tmp_path: Path) -> None:
    roles.write_loop(tmp_path / "loop.gguf")
    pins = make(tmp_path / "served", {"coder": tmp_path / "loop.gguf"})
    (tmp_path / "server").mkdir()
    with running(tree, tmp_path / "server") as server, registry.serving(tmp_path / "served") as source:
        fetched(server.store, source.url, pins)
        body = {"model": roles.CODER.model, "prompt": "go", "stream": False, "options": {"num_predict": 300}}
        answer = server.ask("/api/generate", body)
        assert (answer["done_reason"], answer["eval_count"]) == ("length", 300)
        assert answer["response"].split()[:4] == ["tick", "tock", "tick", "tock"]


def test_moved_manifest_is_taken_only_when_the_pin_follows(
    served: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """The registry moves on, the pin does not: what is there stays, what is not there is refused."""
    folder = tmp_path / "moved"
    roles.write_loop(tmp_path / "loop.gguf")
    new = {**make(folder), roles.CODER.model: layout.add(folder, roles.CODER.model, tmp_path / "loop.gguf")}
    old = served[1]
    store = tmp_path / "store"
    with registry.serving(served[0]) as source:
        fetched(store, source.url, old)
    before = contents(store)
    with registry.serving(folder) as source:
        fetched(store, source.url, old)  # all there: not even asked
        assert source.behaviour.requests == []
        name = f"manifests/registry.ollama.ai/library/{roles.CODER.model.replace(':', '/')}"
        (store / name).unlink()
        with pytest.raises(FetchError, match="pinned is"):
            fetched(store, source.url, old)
        assert set(contents(store)) == set(before) - {name}
        fetched(store, source.url, new)
    assert contents(store)[name] != before[name]
