"""Runs on the workstation while its Ollama is exchanged: which release each server answers with, look by look, and what becomes
of requests that are made all the time.

Its argument: {"instances": role -> [port, model], "stop": a file that ends it}; prints {"looks": [[began, ended, {role: version,
or "" for no answer}], …], "asked": [{"role", "began", "ended", "problem"}, …]}. Seconds of one clock.
"""

import http.client
import json
import os
import sys
import threading
import time

TOKENS = 20
PATIENCE_S = 200.0  # a request that takes longer hangs


def ask(port, method, path, body=None):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request(method, path, json.dumps(body) if body else None)
        return json.loads(link.getresponse().read())
    finally:
        link.close()


def version(port):
    try:
        return ask(port, "GET", "/api/version")["version"]
    except (OSError, http.client.HTTPException, ValueError):
        return ""


def generate(role, port, model):
    began, problem = time.monotonic(), ""
    body = {"model": model, "prompt": "Tell me a very long story.", "stream": False, "options": {"num_predict": TOKENS}}
    try:
        answer = ask(port, "POST", "/api/generate", body)
        if (answer.get("done_reason"), answer.get("eval_count")) != ("length", TOKENS):
            problem = json.dumps(answer)[-300:]
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = repr(error)
    return {"role": role, "began": began, "ended": time.monotonic(), "problem": problem}


def clients():
    last = False
    while not last:
        # Once more after the end, however quick that came: then all servers are the new ones.
        last = over()
        for role, (port, model) in given["instances"].items():
            asked.append(generate(role, port, model))
            time.sleep(0.5)


def over():
    return os.path.exists(given["stop"])


given = json.loads(sys.argv[1])
looks, asked = [], []
client = threading.Thread(target=clients)
client.start()
while not over():
    start = time.monotonic()
    versions = {role: version(port) for role, (port, _) in given["instances"].items()}
    looks.append([start, time.monotonic(), versions])
    time.sleep(0.05)
client.join()
print(json.dumps({"looks": looks, "asked": asked}))
