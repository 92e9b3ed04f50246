"""One Ollama on loopback, asked as its clients do, with times by this machine's own clock (seconds)."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable
from typing import Any

# A large model may have to come from a slow disk, after an answer of somebody else's that is not cut.
PATIENCE_S = 1800.0
# For what an idle server says at once and a busy one soon.
QUICK_S = 60.0
# Four letters and a space before it: one token each for the usual vocabularies, and five for one that knows only characters.
_FOUR = """
that with this from have they were what when your said each them then many some time more like into than been long very just
most know over only find make does come made part back take work also well even want give days here hand high
"""
_WORDS = _FOUR.split()
# The answer must be long. A story is what every model can go on with; the tests' models know these words, too.
_WISH = "\nTell me a very long story. Do not end it before ten thousand words."


class Failed(Exception):
    """An instance did not answer; in its own words where it has some."""


def ask(port: int, method: str, path: str, body: object = None, timeout: float = PATIENCE_S) -> Any:
    """The JSON of one answer. Raises Failed."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        link.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"{answer.status}: {text.decode('utf-8', 'replace')[:400]}")
        return json.loads(text)
    except TimeoutError as error:
        raise Failed(f"no answer to {path} within {timeout:g} s") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(str(error) or type(error).__name__) from error
    finally:
        link.close()


def question(words: int) -> dict[str, str]:
    """A prompt of so many words that no server has seen before, from its first word on: of one that it has, llama-server
    takes the beginning from its cache, and Ollama counts these tokens without their time."""
    chosen = random.SystemRandom().choices(_WORDS, k=max(words, 1) + 6)
    return {"system": " ".join(chosen[:6]), "prompt": " ".join(chosen[6:]) + _WISH}


def generate(
    port: int, model: str, words: int, tokens: int, first: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """One generation of ``tokens`` tokens, streamed; ``first`` is called when the first one has come. Raises Failed.

    prompt_tokens and prompt_s, tokens and decode_s, load_s and total_s are Ollama's own figures; first_s and wall_s are from
    before the connection to the first token and to the end, by this clock.
    """
    body = {"model": model, "stream": True, "options": {"num_predict": tokens, "temperature": 0}, **question(words)}
    begin, seen, last = time.monotonic(), 0.0, {}
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("POST", "/api/generate", json.dumps(body), {"Content-Type": "application/json"})
        answer = link.getresponse()
        if answer.status != 200:
            raise Failed(f"{answer.status}: {answer.read().decode('utf-8', 'replace')[:400]}")
        for line in answer:
            last = json.loads(line)
            if "error" in last:
                raise Failed(str(last["error"])[:400])
            if not seen and (last.get("response") or last.get("thinking")):
                seen = time.monotonic()
                first()
        end = time.monotonic()
    except TimeoutError as error:
        raise Failed(f"no token within {PATIENCE_S:g} s") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(str(error) or type(error).__name__) from error
    finally:
        link.close()
    if not last.get("done") or not last.get("eval_count"):
        raise Failed(f"an answer without an end, or without a token: {str(last)[:300]}")
    return {
        "prompt_tokens": last.get("prompt_eval_count", 0), "prompt_s": last.get("prompt_eval_duration", 0) / 1e9,
        "tokens": last["eval_count"], "decode_s": last.get("eval_duration", 0) / 1e9,
        "load_s": last.get("load_duration", 0) / 1e9, "total_s": last.get("total_duration", 0) / 1e9,
        "first_s": (seen or end) - begin, "wall_s": end - begin,
    }  # fmt: skip


def unload(port: int, model: str) -> None:
    """Take the model out of memory, and wait until Ollama says so. An answer in the making is finished first."""
    ask(port, "POST", "/api/generate", {"model": model, "keep_alive": 0})
    end = time.monotonic() + 60
    while (
        any(one["name"] == model for one in ask(port, "GET", "/api/ps", timeout=QUICK_S)["models"])
        and time.monotonic() < end
    ):
        time.sleep(0.05)


def words_for(port: int, model: str, lengths: list[int]) -> dict[int, int]:
    """For each length in tokens the words that give it, from two prompts of this model's own tokens."""
    few, many = 16, 80
    one, other = (generate(port, model, words, 1)["prompt_tokens"] for words in (few, many))
    a_word = (other - one) / (many - few)
    if a_word <= 0:
        raise Failed(f"prompts of {few} and {many} words are {one:.0f} and {other:.0f} tokens long")
    return {length: max(1, round(few + (length - one) / a_word)) for length in lengths}
