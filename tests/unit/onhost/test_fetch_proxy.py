"""A proxy of the environment is used, and left out where the environment says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.paths import ROOT
from holdfast_onhost.fetch import fetch
from holdfast_onhost.fetch_errors import FetchError, Unreachable

from .conftest import QUICK, Source
from .hostile import answer, answering
from .models_site import Site
from .test_fetch_slow import DRIP

PULLER = ROOT / "src" / "holdfast_onhost" / "models_pull.py"


def test_proxy_of_the_environment(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", source.server.url)
    with pytest.raises(FetchError, match="HTTP 404"):  # the registry of the test does not forward
        fetch("http://nowhere.invalid/x?y=1", 5, "0" * 64, str(tmp_path / "x"), manner=QUICK)
    assert source.behaviour.requests == ["GET http://nowhere.invalid/x?y=1"]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(source.url, len(source.data), source.sha256, str(tmp_path / "x"), manner=QUICK)
    assert (tmp_path / "x").read_bytes() == source.data


def test_puller_goes_through_a_proxy_of_its_environment(site: Site, tmp_path: Path) -> None:
    """The unit has /etc/environment; the interpreter is isolated from other variables."""
    asked: list[str] = []
    data = {f"/v2/library/{name.replace(':', '/manifests/')}": (site.served / "manifests" / "library" / name.replace(":", "/"))
            for name in (model["name"] for model in site.settings["models"])}  # fmt: skip

    def script(n: int, path: str, at: int) -> bytes:
        asked.append(path)
        below = path.removeprefix("http://registry.invalid")
        file = data.get(below) or site.served / "blobs" / below.rpartition("/")[2].replace(":", "-")
        return answer(body=file.read_bytes()[at:])

    site.settings["source"] = "http://registry.invalid"
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    with answering(script) as proxy:
        command = [sys.executable, "-I", "-S", str(PULLER), str(settings)]
        done = subprocess.run(command, env={"http_proxy": proxy.url}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert site.same_as_served() and all(path.startswith("http://registry.invalid/v2/") for path in asked)


@pytest.mark.parametrize("said", ["refused", "dripped"])
def test_proxy_that_lets_nobody_through(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(lambda n, path, at: answer("407 Log In"), drip=0.1 if said == "dripped" else 0) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(Unreachable) as caught:
            fetch("https://registry.invalid/x", 5, "0" * 64, str(tmp_path / "x"), manner=DRIP)
    assert {path for path, _ in proxy.asked} == {"registry.invalid:443"} and len(proxy.asked) == 3
    assert ("407 Log In" in caught.value.message) == (said == "refused")
