"""Runs on the machine: are the machine's secrets, or join keys of a tailnet, to be found where everybody may read?

Looked at: every process's arguments, files that others may read, the properties of units (any user may ask systemd for
them) and the journal of this boot. A word made for the purpose is put into each of them first, and must be found.
"""

import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time

FILES = ("/etc/holdfast/open-webui/secret.env", "/etc/holdfast/open-webui/admin-password")
FOLDERS = (
    "/etc/holdfast", "/etc/systemd/system", "/etc/default", "/run/holdfast", "/run/systemd/system", "/var/lib/holdfast",
    "/var/log", "/tmp", "/var/tmp", "/usr/local/lib/holdfast", "/home",
)  # fmt: skip
# `tskey-auth-` or `hskey-auth-`, an identifier, then the secret itself.
JOIN_KEY = re.compile(rb"\b(?:tskey|hskey)-auth-([A-Za-z0-9_]{8,})-[A-Za-z0-9_-]{24,}")
PLANTED_KEY = b"holdfastverify"  # the identifier of the one that is planted here
MOST = 4 << 20  # bytes of one file; the models are larger and no place for a secret


def readable(path):
    """Contents of ``path`` when it is a plain file that others may read."""
    try:
        st = os.lstat(path)
        if not stat.S_ISREG(st.st_mode) or not st.st_mode & stat.S_IROTH or st.st_size > MOST:
            return b""
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def others_may_enter(folder):
    try:
        return bool(os.stat(folder).st_mode & stat.S_IXOTH)
    except OSError:
        return False


def places(extra):
    """(name of the place, its bytes)."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                yield f"arguments of process {pid}", f.read()
        except OSError:
            pass
    for top in (*FOLDERS, extra):
        for folder, inner, names in os.walk(top):
            inner[:] = [n for n in inner if others_may_enter(os.path.join(folder, n))]
            for name in names:
                path = os.path.join(folder, name)
                yield path, readable(path)
    shown = subprocess.run(["systemctl", "show", "*", "-p", "Id,Environment,ExecStart,ExecStartPre"], capture_output=True)
    yield "properties of units", shown.stdout
    said = subprocess.run(["journalctl", "-b", "-o", "cat", "--no-pager", "-q"], capture_output=True)
    yield "journal", said.stdout


def secret_words():
    out = {}
    for path in FILES:
        try:
            with open(path, "rb") as f:
                value = f.read().strip().rpartition(b"=")[2].strip(b"\"'")
        except OSError:
            continue
        if len(value) >= 8:
            out[path] = value
    return out


planted = "planted-" + secrets.token_hex(12)
folder = tempfile.mkdtemp(prefix="holdfast-verify-", dir="/run")
os.chmod(folder, 0o755)
try:
    path = os.path.join(folder, "planted")
    with open(path, "w") as f:
        f.write(planted)
    os.chmod(path, 0o644)
    unit = f"holdfast-verify-{planted[-8:]}.service"
    # One unit for three places: its arguments, its properties, and what it says.
    subprocess.run(
        ["systemd-run", "--quiet", "--collect", "--unit", unit, "sh", "-c",
         f"echo {planted} hskey-auth-{PLANTED_KEY.decode()}-{planted}; sleep 300"],
        check=True, capture_output=True,
    )
    end = time.monotonic() + 10
    while time.monotonic() < end:
        said = subprocess.run(["journalctl", "-u", unit, "-o", "cat", "--no-pager", "-q"], capture_output=True, text=True)
        if planted in said.stdout:
            break
        time.sleep(0.1)
    words = secret_words()
    found = {name: [] for name in words}
    found["join key"] = []
    seen = []
    for place, content in places(folder):
        if planted.encode() in content:
            seen.append("arguments" if place.startswith("arguments") else "file" if place == path else place)
        for name, value in words.items():
            if value in content:
                found[name].append(place)
        keys = set(JOIN_KEY.findall(content))
        if keys - {PLANTED_KEY}:
            found["join key"].append(place)
        if PLANTED_KEY in keys:
            seen.append("join key")
finally:
    subprocess.run(["systemctl", "stop", unit], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
json.dump({"known": sorted(words), "found": found, "planted_seen_in": sorted(set(seen))}, sys.stdout)
