"""What the instances answer: each is asked for one word, which loads its model."""

from __future__ import annotations

from typing import Any

from holdfast.operations.remote import PythonFact


def read_replies(instances: dict[str, list[Any]], patience_s: float) -> Any:
    """Runs on the host. `instances`: role -> [port, model].

    Returns {role: {"state": "answers", "seconds"} or {"state": "does not answer", "why"}}; with what `ollama ps` says of the
    loaded model beside it: "bytes", "bytes_in_vram", "context". `patience_s`: longest wait for one model to load, in seconds.
    """
    import json
    import time
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str, body: Any = None, timeout: float = 10) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with opener.open(urllib.request.Request(url, data), timeout=timeout) as answer:
            return json.load(answer)

    out: dict[str, Any] = {}
    for role, (port, model) in instances.items():
        start = time.monotonic()
        url = f"http://127.0.0.1:{port}/api"
        try:
            one_word = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
            get(f"{url}/generate", one_word, patience_s)
            loaded = [m for m in get(f"{url}/ps")["models"] if m["name"] == model]
            found = {"state": "answers", "seconds": round(time.monotonic() - start, 2)}
            if loaded:
                found["bytes"], found["bytes_in_vram"] = loaded[0].get("size", 0), loaded[0].get("size_vram", 0)
                found["context"] = loaded[0].get("context_length", 0)
        except (OSError, ValueError, KeyError) as error:
            found = {"state": "does not answer", "why": str(error)[:200]}
        out[role] = found
    return out


class Replies(PythonFact):
    """Whether each instance answers, and where its model lies then; see read_replies."""

    reader = staticmethod(read_replies)
