"""A second server beside a role's own, to see whether a model answers in the environment that it is to get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.components.ollama import files
from holdfast.operations.remote import PythonFact
from holdfast.settings import Workstation


@dataclass(frozen=True)
class Trial:
    """The unit, where its environment goes, the text of that (without a port), and the model that is to answer."""

    unit: str
    file: str
    environment: str
    model: str


def trial(ws: Workstation, role: str) -> Trial:
    """The trial of the model that ``ws`` names for ``role``; no role may have its name.

    It holds all cards that it uses, also where the role's own server does not: that may still have a model there which does
    not leave room, and is then asked to unload it.
    """
    name, one = files.TRIAL + role, ws.instances[role]
    alone = one.model_copy(update={"lease": [*one.held, *one.gpus]})
    return Trial(files.unit_name(name), files.environment_file(name), files.variables(ws, role, name, alone), one.model)


def try_model(unit: str, file: str, environment: str, model: str, timeout_s: float) -> str:
    """Runs on the host: starts ``unit`` with ``environment`` in ``file`` on a port that the kernel lends, asks ``model`` for one
    token (``timeout_s``: seconds for that), and removes all of it again. Returns the error, or "".

    Where this is cut off, an apply removes the rest as an instance that nobody declared.
    """
    import contextlib
    import glob
    import json
    import os
    import shutil
    import socket
    import subprocess
    import urllib.error
    import urllib.request

    def read(text: str) -> dict[str, str]:
        pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
        return {key: value.strip('"') for key, value in pairs}

    values = read(environment)

    def systemctl(*words: str) -> int:
        return subprocess.run(["systemctl", "--quiet", *words], capture_output=True).returncode

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def http(address: str, path: str, body: Any, timeout: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with opener.open(urllib.request.Request(f"http://{address}/api/{path}", data), timeout=timeout) as answer:
            return json.loads(answer.read())

    def make_room() -> bool:
        """Whoever has a model on our cards, and no lease in common with us, is asked to unload it: nothing that runs is cut, and
        the next request loads it again. Whether anybody had."""
        asked = False
        for path in glob.glob(os.path.join(os.path.dirname(file), "*.env")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                with open(path) as text:
                    other = read(text.read())
                cards, leases = (set(values.get(key, "").split()) & set(other.get(key, "").split())
                                 for key in ("HOLDFAST_CARDS", "HOLDFAST_LEASE"))  # fmt: skip
                if path == file or not cards or leases:
                    continue
                for loaded in http(other["OLLAMA_HOST"], "ps", None, 10)["models"]:
                    http(other["OLLAMA_HOST"], "generate", {"model": loaded["name"], "keep_alive": 0}, 10)
                    asked = True
        return asked

    def ask(port: int) -> str:
        body = {"model": model, "prompt": "1", "stream": False, "options": {"num_predict": 1}}
        try:
            done = http(f"127.0.0.1:{port}", "generate", body, timeout_s)
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code} {error.read(500).decode('utf-8', 'replace')}"
        except (OSError, ValueError) as error:
            return str(error)
        return "" if done.get("done") else f"no whole answer: {str(done)[:200]}"

    def clean() -> None:
        systemctl("stop", unit)
        systemctl("reset-failed", unit)
        name = values["HOLDFAST_INSTANCE"]
        places = glob.glob(f"{values.get('HOLDFAST_LEASE_DIR')}/*.queue/{name}")
        for path in (file, f"/run/holdfast/ollama/{name}.devices", *places):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in (values["HOME"], values["CUDA_CACHE_PATH"]):
            shutil.rmtree(path, ignore_errors=True)

    clean()
    with socket.socket() as lent:
        lent.bind(("127.0.0.1", 0))
        port = lent.getsockname()[1]
    try:
        # Of a variable that is there twice systemd takes the last.
        with open(file, "w") as text:
            text.write(f"{environment}OLLAMA_HOST=127.0.0.1:{port}\nHOLDFAST_PORT={port}\n")
        systemctl("daemon-reload")
        if systemctl("start", unit):
            words = ["journalctl", "-u", unit, "-n", "5", "--no-pager", "-o", "cat"]
            said = subprocess.run(words, capture_output=True, text=True).stdout.strip()
            return f"its server did not start: {said}"
        make_room()
        problem = ask(port)
        # Somebody has loaded it again while we waited for our turn.
        return ask(port) if problem and make_room() else problem
    except OSError as error:
        return str(error)
    finally:
        clean()


class Tried(PythonFact):
    """What a model says when it is tried; see try_model. A fact by the way that it travels, no look: it is asked for inside an
    apply's own step alone."""

    reader = staticmethod(try_model)
