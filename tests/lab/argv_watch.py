"""Runs on the workstation as root: a throw-away tailscaled, one join command, and a watcher of every argv and environment.

The command line to try is the first argument; the key goes in by its stdin. Then, as the watcher's own control, the same
with the key in the argv. The key stands in this text only, which comes by stdin. Prints one line of JSON.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import threading
import time

KEY = "hskey-auth-" + "CANARY" * 12
FOLDER = "/run/holdfast-test-tailscaled"


class Watcher(threading.Thread):
    """Looks at all processes, again and again, until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.rounds, self.on = set(), 0, True

    def run(self):
        while self.on:
            for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
                try:
                    with open(path, "rb") as f:
                        text = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if KEY in text:
                    self.seen.add(text.replace(KEY, "(key)"))
            self.rounds += 1
            time.sleep(0.003)


def watched(line, key):
    watcher = Watcher()
    watcher.start()
    subprocess.run(["sh", "-c", line], input=key + "\n", capture_output=True, text=True, timeout=60)
    watcher.on = False
    watcher.join()
    return sorted(watcher.seen), watcher.rounds


def main(line):
    os.makedirs(FOLDER, mode=0o700)
    daemon = subprocess.Popen(
        ["tailscaled", "--tun=userspace-networking", "--port=0", "--statedir=" + FOLDER, "--socket=" + FOLDER + "/sock",
         "--no-logs-no-support"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            if os.path.exists(FOLDER + "/sock"):
                break
            time.sleep(0.1)
        by_stdin, rounds = watched(line, KEY)
        by_argv, _ = watched(line.replace("file:/dev/stdin", KEY), "")
        print(json.dumps({"watched": rounds, "by_stdin": by_stdin, "by_argv": by_argv}))
    finally:
        daemon.terminate()
        daemon.wait(10)
        shutil.rmtree(FOLDER, ignore_errors=True)


main(sys.argv[1])
