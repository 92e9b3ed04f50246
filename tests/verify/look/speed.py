"""Runs on the machine: one generation of each instance with cards, and who is on which card while its tokens come."""

import http.client
import json
import os
import subprocess
import sys
import time

LONG = 900  # seconds: a large model may have to be loaded from a slow disk, and another one to be unloaded first
WISH = "Tell me a very long story. Do not end it before ten thousand words."


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()


def loaded(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/api/ps")
    return json.load(connection.getresponse())["models"]


def processes(unit):
    """Every process of the unit, those of groups below its own included."""
    shown = subprocess.run(["systemctl", "show", "-p", "ControlGroup", "--value", unit], capture_output=True, text=True)
    found = []
    for folder, _, files in os.walk("/sys/fs/cgroup" + shown.stdout.strip()):
        if "cgroup.procs" in files:
            with open(os.path.join(folder, "cgroup.procs")) as f:
                found += [int(line) for line in f]
    return found


def on_cards():
    words = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    pairs = [line.split(",") for line in done.stdout.splitlines() if line.count(",") == 1]
    return [[uuid.strip(), int(pid)] for uuid, pid in pairs if pid.strip().isdigit()]


def look(*words):
    try:
        return measure(*words)
    except (OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError, KeyError) as error:
        return {"problem": f"{type(error).__name__}: {error}"}


def measure(unit, port, model, tokens, runs):
    post(port, "/api/generate", {"model": model, "keep_alive": 0}).read()
    end = time.monotonic() + 60
    while any(m["name"] == model for m in loaded(port)) and time.monotonic() < end:
        time.sleep(0.1)
    began, rates, seen = time.time(), [], {}
    for _ in range(runs):
        options = {"num_predict": tokens, "temperature": 0}
        answer = post(port, "/api/generate", {"model": model, "prompt": WISH, "options": options})
        if answer.status != 200:
            return {"problem": answer.read().decode("utf-8", "replace")[:300]}
        for line in answer:
            told = json.loads(line)
            if "error" in told:
                return {"problem": str(told["error"])[:300]}
            if not seen and (told.get("response") or told.get("thinking")):
                # Tokens come: only who holds the cards can give them.
                seen = {"models": loaded(port), "apps": on_cards(), "processes": processes(unit)}
        rates.append(told["eval_count"] / (told["eval_duration"] / 1e9))
    if not seen:
        return {"problem": "its answers have no tokens"}
    words = ["journalctl", "-u", unit, "--since", f"@{int(began)}", "-o", "cat", "--no-pager"]
    lines = subprocess.run(words, capture_output=True, text=True, errors="replace").stdout.splitlines()
    return {
        "problem": "",
        "rates": rates,
        "offloaded": [x for x in lines if "offloaded" in x and "layers to GPU" in x],
        **seen,
    }


given = json.loads(sys.argv[1])
print(json.dumps({role: look(*words) for role, words in given["instances"].items()}))
