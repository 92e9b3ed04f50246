"""Runs on the machine: asks every Ollama instance, as its clients do. One after another: they may take turns on cards."""

import http.client
import json
import sys

LONG = 900  # seconds: a large model may have to be loaded from a slow disk, and another one to end its answer first
QUESTION = "Who are you?"


def ask(port, method, path, body=None, timeout=30, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "problem": str(error) or type(error).__name__, "json": {}}
    finally:
        connection.close()
    try:
        found = json.loads(text)
    except ValueError:
        found = {}
    return {"status": answer.status, "problem": "" if answer.status == 200 else text[:300], "json": found}


def look(role):
    port, model = given["instances"][role]
    generate = {"model": model, "prompt": QUESTION, "stream": False, "options": {"temperature": 0, "num_predict": 64}}
    return {
        "version": ask(port, "GET", "/api/version"),
        "foreign_host": ask(port, "GET", "/api/version", Host="evil.example")["status"],
        "foreign_origin": ask(port, "GET", "/api/version", Origin="http://evil.example")["status"],
        "status": ask(port, "GET", "/api/status"),
        "tags": ask(port, "GET", "/api/tags"),
        "generate": ask(port, "POST", "/api/generate", generate, timeout=LONG),
        "loaded": ask(port, "GET", "/api/ps"),
    }


given = json.loads(sys.argv[1])
print(json.dumps({role: look(role) for role in given["instances"]}))
