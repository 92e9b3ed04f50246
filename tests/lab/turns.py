"""Runs on the workstation: clients of both servers at once, and a look at /proc, not at any lease, of who has a model loaded.

`do`: what to do, by name; prints one JSON object.  The models talk on for as long as they are asked to.
"""

import http.client
import json
import os
import sys
import threading
import time

STORY = "Tell me a very long story."
# The vendor's own program, or the loader that runs a distribution's.
PROGRAMS = ("llama-server", "llama-server.bin", "ld-linux-x86-64.so.2")
PATIENCE_S = 200.0  # a request that takes longer hangs


def generate(role, tokens, **options):
    """One generation: how it ended, when it began, how long it took; or what it was told."""
    port, model = given["instances"][role]
    began = time.monotonic()
    body = {"model": model, "prompt": STORY, "stream": False, "options": {"num_predict": tokens, **options}}
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("POST", "/api/generate", json.dumps(body))
        answer = link.getresponse()
        text = answer.read().decode()
        found = json.loads(text)
        wanted = ("done_reason", "eval_count", "eval_duration", "error")
        told = {key: found.get(key) for key in wanted} | {"status": answer.status}
    except (OSError, http.client.HTTPException, ValueError) as error:
        told = {"status": 0, "error": repr(error)}
    finally:
        link.close()
    return {"role": role, "tokens": tokens, "began": began, "took": time.monotonic() - began, **told}


def runners():
    """pid -> unit of every real llama-server that has a model, by its executable: scripts lead to it, and fork on the way."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if b"--model" not in words or os.path.basename(os.readlink(f"/proc/{pid}/exe")) not in PROGRAMS:
                continue
            with open(f"/proc/{pid}/cgroup") as f:
                found[pid] = f.read().strip().rpartition("/")[2]
        except OSError:
            continue
    return found


class Sampler(threading.Thread):
    """Which units had a runner, sample by sample, until told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.alone, self.both, self.order, self.stopping = {}, [], [], threading.Event()

    def run(self):
        while not self.stopping.wait(0.02):
            seen = runners()
            if len(seen) > 1:
                # A second look: listing /proc takes time, and one may have ended after it was seen.
                again = {pid: unit for pid, unit in seen.items() if os.path.exists(f"/proc/{pid}")}
                if len(again) > 1:
                    self.both.append(sorted(again.values()))
            for unit in seen.values() if len(seen) == 1 else ():
                self.alone[unit] = self.alone.get(unit, 0) + 1
                if self.order[-1:] != [unit]:
                    self.order.append(unit)


def turns(hand_overs, tokens, clients):
    """Clients of both sides ask again and again until the models have changed places that often."""
    done, sampler, stopping = [], Sampler(), threading.Event()

    def ask(role):
        while not stopping.is_set():
            done.append(generate(role, tokens))

    threads = [threading.Thread(target=ask, args=(role,)) for role in given["instances"] for _ in range(clients)]
    sampler.start()
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE_S
    while len(sampler.order) <= hand_overs and time.monotonic() < end:
        time.sleep(0.05)
    stopping.set()
    for thread in threads:
        thread.join()
    sampler.stopping.set()
    sampler.join()
    return {"done": done, "alone": sampler.alone, "both": sampler.both, "order": sampler.order}


def one(role, tokens, **options):
    return generate(role, tokens, **options)


def crowded(crowd, single, tokens):
    """Two clients keep one server busy without a pause; one request to the other, and how long it took."""
    done, stopping = [], threading.Event()

    def ask():
        while not stopping.is_set():
            done.append(generate(crowd, tokens))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    found = generate(single, 20)
    stopping.set()
    for thread in threads:
        thread.join()
    return {"crowd": done, "single": found}


def contest(first, second, tokens, pause):
    """A long generation of `first`, and `pause` seconds into it a short one of `second`."""
    out = [None, None]

    def ask(at, role, count):
        out[at] = generate(role, count)

    threads = [threading.Thread(target=ask, args=(0, first, tokens)), threading.Thread(target=ask, args=(1, second, 20))]
    for thread in threads:
        thread.start()
        time.sleep(pause)
    for thread in threads:
        thread.join()
    return out


given = json.loads(sys.argv[1])
print(json.dumps({"turns": turns, "one": one, "contest": contest, "crowded": crowded}[given["do"]](**given["with"])))
