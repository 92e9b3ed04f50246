"""A ProxyCommand loses nothing and notices its end; paramiko's own does neither (the control)."""

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
    from holdfast.apply.proxycommand import mend_proxycommand; mend_proxycommand()
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


ENDING = """
from gevent import monkey; monkey.patch_all()
import sys
from paramiko.proxy import ProxyCommand
if sys.argv[1] == "ours":
    from holdfast.apply.proxycommand import mend_proxycommand; mend_proxycommand()
proxy = ProxyCommand(f"{sys.executable} -c 'print(5 * chr(120), end=str())'")
proxy.settimeout(2)
said = []
try:
    while len(said) < 3:
        said.append(proxy.recv(100))
except OSError as error:
    said.append(type(error).__name__)
print(said)
"""


@pytest.mark.parametrize(("whose", "said"), [("ours", "[b'xxxxx', b'', b'']"), ("paramiko's", "[b'xxxxx', 'TimeoutError']")])
def test_the_end_of_the_program_is_the_end_of_the_connection(whose: str, said: str) -> None:
    """paramiko's has a timeout here; without one, as pyinfra uses it, it would never come back."""
    done = subprocess.run([sys.executable, "-c", ENDING, whose], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == said, done.stderr
