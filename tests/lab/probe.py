"""Whether a door is open, as seen from a node of the lab."""

from __future__ import annotations

from holdfast.lab import Lab

# Prints "open" and what a server says within so many seconds, or "closed" and why; Python, because the bare machine has it
# and Debian's shell has no /dev/tcp. Its arguments: address, port, seconds.
PROBE = (
    "import socket,sys\n"
    "try:\n"
    " s=socket.create_connection((sys.argv[1],int(sys.argv[2])),float(sys.argv[3]));s.settimeout(float(sys.argv[3]))\n"
    " s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n');print('open',s.recv(200))\n"
    "except OSError as e: print('closed',e)\n"
)


def probe(lab: Lab, node: str, address: str, port: int, seconds: float = 5) -> str:
    """What ``address`` says to ``node``: "open b'…'" or "closed …"."""
    argv = ["python3", "-", address, str(port), str(seconds)]
    return lab.ssh(argv, input=PROBE).stdout if node == "workstation" else lab.run_in(node, argv, input=PROBE).stdout
