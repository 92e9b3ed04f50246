"""A FAKE Ollama on loopback: answers in the form of 0.32, at a speed of its own invention."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeOllama:
    """``tokens_per_second`` is what it claims; ``fail``: what it answers to every generation instead.
    ``pause_s``: how long each token really takes; ``answering``: how many answers it is about to make."""

    def __init__(self, model: str, tokens_per_second: float = 34.0, fail: str = "", pause_s: float = 0.003) -> None:
        self.model, self.rate, self.fail = model, tokens_per_second, fail
        self.loaded, self.loads = False, 0
        self.prompts: list[str] = []
        self.answering = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                size = 20 << 30
                loaded = [{"name": fake.model, "size": size, "size_vram": size}] if fake.loaded else []
                self.reply({"models": loaded} if self.path == "/api/ps" else {"version": "0.0.0-fake"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if body.get("keep_alive") == 0:
                    fake.loaded = False
                    self.reply({"done": True})
                elif fake.fail:
                    self.send_error(500, fake.fail)
                else:
                    self.answer(body)

            def answer(self, body: dict[str, Any]) -> None:
                fake.loads += not fake.loaded
                fake.loaded = True
                fake.prompts.append(body.get("system", "") + "\n" + body["prompt"])
                tokens = body["options"]["num_predict"]
                words = len((body.get("system", "") + body["prompt"]).split())
                lines = [{"response": ""}, *({"response": " sea"} for _ in range(tokens))]
                end = {
                    "done": True, "eval_count": tokens, "eval_duration": int(tokens / fake.rate * 1e9), "load_duration": 1,
                    "prompt_eval_count": words + 7, "prompt_eval_duration": 1_000_000 * words, "total_duration": 1,
                }  # fmt: skip
                self.send_response(200)
                self.end_headers()
                long = tokens > 1
                fake.answering += long
                try:
                    for line in [*lines, end]:
                        self.wfile.write(json.dumps(line).encode() + b"\n")
                        self.wfile.flush()
                        if "done" not in line and long:
                            time.sleep(pause_s)
                except OSError:
                    self.close_connection = True
                finally:
                    fake.answering -= long

            def reply(self, what: object) -> None:
                data = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def job(self, **more: Any) -> dict[str, Any]:
        """What the program is told about it."""
        return {
            "port": self.port, "model": self.model, "unit": "no-such.service", "gpus": [], "lengths": [128, 256],
            "environment": "/nonexistent",
        } | more  # fmt: skip


def words(**instances: dict[str, Any]) -> dict[str, Any]:
    """A whole job."""
    return {
        "instances": instances, "pairs": [], "runs": 5, "tokens": 16, "hand_overs": 2, "compare": 0, "force": False, "sudo": [],
    }  # fmt: skip
