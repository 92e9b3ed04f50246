"""Stands for llama-server in unit tests: answers on the unix socket after --host, and does what the file "told" says.

told: words among "exit" (ends while it loads), "hang" (never has loaded), "crash" (ends when it is asked for something).
It leaves its environment in the file "seen" and one line a start in "starts".
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

folder = os.path.dirname(os.path.realpath(sys.argv[0]))


def told() -> list[str]:
    with open(os.path.join(folder, "told"), encoding="utf-8") as file:
        return file.read().split()


with open(os.path.join(folder, "seen"), "w", encoding="utf-8") as file:
    json.dump(dict(os.environ), file)
with open(os.path.join(folder, "starts"), "a", encoding="utf-8") as file:
    file.write(f"{os.getpid()}\n")
if "exit" in told():
    sys.exit(3)
while "hang" in told():
    time.sleep(1)
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[sys.argv.index("--host") + 1])
door.listen()
while True:
    link, _ = door.accept()
    with link:
        asked = link.recv(65536)
        if b"/health" not in asked and "crash" in told():
            os._exit(4)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
