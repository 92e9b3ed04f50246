"""A second server beside a role's own, to see whether a model answers in the environment that it is to get."""

from __future__ import annotations


def try_model(role: str, model: str, environment: str, timeout_s: float) -> str:
    """Runs on the host: starts ollama@next.ROLE with ``environment`` (the text of ROLE.env) on a port that the kernel lends, asks
    ``model`` for one token, and removes all of it again. Returns the error, or "".

    No role may have such a name; where this is cut off, an apply removes the rest as an instance that nobody declared.
    """
    import contextlib
    import json
    import os
    import shutil
    import socket
    import subprocess
    import urllib.error
    import urllib.request

    name = f"next.{role}"
    unit, env = f"ollama@{name}.service", f"/etc/holdfast/ollama/{name}.env"
    home, cache = f"/var/lib/holdfast/ollama/{name}", f"/var/cache/holdfast/ollama/{name}"

    def systemctl(*words: str) -> int:
        return subprocess.run(["systemctl", "--quiet", *words], capture_output=True).returncode

    def ask(port: int) -> str:
        body = {"model": model, "prompt": "1", "stream": False, "options": {"num_predict": 1}}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/generate", json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                done = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code} {error.read(500).decode('utf-8', 'replace')}"
        except (OSError, ValueError) as error:
            return str(error)
        return "" if done.get("done") else f"no whole answer: {str(done)[:200]}"

    def clean() -> None:
        systemctl("stop", unit)
        systemctl("reset-failed", unit)
        for path in (env, f"/run/holdfast/ollama/{name}.devices"):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in (home, cache):
            shutil.rmtree(path, ignore_errors=True)

    clean()
    with socket.socket() as lent:
        lent.bind(("127.0.0.1", 0))
        port = lent.getsockname()[1]
    own = {"HOME": home, "CUDA_CACHE_PATH": cache, "HOLDFAST_INSTANCE": name, "OLLAMA_HOST": f"127.0.0.1:{port}",
           "HOLDFAST_PORT": port}  # fmt: skip
    try:
        # Of a variable that is there twice systemd takes the last.
        with open(env, "w") as file:
            file.write(environment + "".join(f"{key}={value}\n" for key, value in own.items()))
        systemctl("daemon-reload")
        if systemctl("start", unit):
            words = ["journalctl", "-u", unit, "-n", "5", "--no-pager", "-o", "cat"]
            said = subprocess.run(words, capture_output=True, text=True).stdout.strip()
            return f"its server did not start: {said}"
        return ask(port)
    except OSError as error:
        return str(error)
    finally:
        clean()
