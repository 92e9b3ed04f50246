"""A large packet through a ProxyCommand arrives whole; the same without our `send` does not (the control)."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

PROGRAM = """
from gevent import monkey; monkey.patch_all()
import hashlib, sys
from paramiko.proxy import ProxyCommand
if sys.argv[1] == "ours":
    from holdfast.apply.proxycommand import send_everything; send_everything()
reader = "import sys, time, hashlib; time.sleep(0.3); print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
proxy = ProxyCommand(f"{sys.executable} -c '{reader}'")
rest = bytes(range(256)) * 4096
while rest:                      # as paramiko's Packetizer.write_all does
    rest = rest[proxy.send(rest):]
proxy.process.stdin.close()
print(proxy.process.stdout.read().decode().strip())
"""
WHOLE = hashlib.sha256(bytes(range(256)) * 4096).hexdigest()


@pytest.mark.parametrize(("send", "arrives"), [("ours", True), ("paramiko's", False)])
def test_one_mebibyte(send: str, arrives: bool) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, send], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.strip() == WHOLE) is arrives, done.stdout + done.stderr
