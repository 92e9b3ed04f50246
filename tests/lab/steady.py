"""Runs on the workstation: asks a model without a pause until its stdin ends; then prints every request as one JSON list.

argv: port, model.
"""

import http.client
import json
import sys
import threading
import time

PORT, MODEL = int(sys.argv[1]), sys.argv[2]
PATIENCE_S = 200.0  # a request that takes longer hangs
ended = threading.Event()


def ask():
    began = time.time()
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
    try:
        body = {"model": MODEL, "prompt": "Who are you?", "stream": False}
        link.request("POST", "/api/generate", json.dumps(body))
        answer = link.getresponse()
        found = json.loads(answer.read())
        told = [answer.status, found.get("response") or str(found.get("error"))]
    except (OSError, http.client.HTTPException, ValueError) as error:
        told = [0, repr(error)]
    finally:
        link.close()
    return [began, time.time(), *told]


def wait():
    sys.stdin.read()
    ended.set()


threading.Thread(target=wait, daemon=True).start()
out = []
while not ended.is_set():
    out.append(ask())
    time.sleep(0.1)
print(json.dumps(out))
