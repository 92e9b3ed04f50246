"""Runs on the machine: what can a process inside a server's own confinement reach and write, and the same one outside?

The probe is moved into the server's control group, where systemd's IPAddressDeny= acts, and does there what a program
that has been taken over would do. Outside, the same probe shows that there is something to be reached.
"""

import contextlib
import errno
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import urllib.parse

SECONDS = 2.5


def run(*words):
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def show(unit):
    text = run("systemctl", "show", "-p", "ControlGroup,MainPID,User", unit)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def own_addresses():
    """The machine's addresses besides loopback; link-local ones need a scope and are left out."""
    found = json.loads(run("ip", "-json", "address", "show", "scope", "global") or "[]")
    return [(i["local"], 6 if i["family"] == "inet6" else 4) for link in found for i in link.get("addr_info", []) if "local" in i]


def control_server():
    """Where the tailnet is controlled from: a server on another computer that this machine is known to need."""
    try:
        url = json.loads(run("tailscale", "debug", "prefs") or "{}").get("ControlURL") or ""
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        return [(socket.gethostbyname(parts.hostname), port)] if parts.hostname else []
    except (OSError, ValueError):
        return []


def nameservers():
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as f:
        return [line.split()[1] for line in f if line.startswith("nameserver ") and len(line.split()) > 1]
    return []


def question():
    """A DNS question for this machine's own name: resolved knows it by itself, any other server says what it knows."""
    labels = b"".join(bytes([len(p)]) + p for p in socket.gethostname().encode().split(b".") if p)
    return b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + labels + b"\0\0\x01\0\x01"


def reach(kind, where, port):
    """ "open" when the other side answered, else the error's name."""
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "dns" else socket.SOCK_STREAM) as s:
        s.settimeout(SECONDS)
        try:
            s.connect((where, port))
            if kind == "dns":
                s.send(question())
                s.recv(512)
            return "open"
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def reach_all(targets):
    out, threads = {}, []

    def one(name, target):
        out[name] = reach(*target)

    for name, target in targets.items():
        threads.append(threading.Thread(target=one, args=(name, target)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return out


def begin_inside(group):
    """``reach_all`` in a process of the control group ``group``, begun: process id, and where its answer comes from."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open(f"/sys/fs/cgroup{group}/cgroup.procs", "w") as f:
                f.write("0")
            os.write(write, json.dumps(reach_all(targets)).encode())
        except BaseException as error:
            os.write(write, json.dumps({"error": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(write)
    return child, read


def end_inside(child, read):
    with os.fdopen(read, "rb") as f:
        text = f.read()
    os.waitpid(child, 0)
    return json.loads(text or b'{"error": "the probe died"}')


def writes(pid, user, folder):
    """"written", or why a file cannot be made in ``folder`` as the server's user sees the disk."""
    name = os.path.join(folder, ".holdfast-verify")
    account = pwd.getpwnam(user)
    line = 'if : > "$1"; then rm -f "$1"; echo written; fi'
    done = subprocess.run(
        ["nsenter", "--target", str(pid), "--mount", "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}",
         "--clear-groups", "sh", "-c", line, "sh", name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
    )
    as_root = subprocess.run(
        ["nsenter", "--target", str(pid), "--mount", "sh", "-c", line, "sh", name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
    )
    return {"server": (done.stdout + done.stderr).strip(), "root": (as_root.stdout + as_root.stderr).strip()}


given = json.loads(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
targets = {"loopback": ("tcp", "127.0.0.1", listener.getsockname()[1])}
opened = []
for where, version in own_addresses():
    with contextlib.suppress(OSError):
        made = socket.create_server((where, 0), family=socket.AF_INET6 if version == 6 else socket.AF_INET)
        opened.append(made)
        targets["own address " + where] = ("tcp", where, made.getsockname()[1])
for where, port in control_server():
    targets[f"control server {where}"] = ("tcp", where, port)
for where in nameservers()[:1]:
    targets["name server " + where] = ("dns", where, 53)
out = {"outside": reach_all(targets), "units": {}}
shown = {unit: show(unit) for unit in given["units"]}
running = {unit: found for unit, found in shown.items() if int(found.get("MainPID") or 0)}
# All at once: a door that is shut shows only by waiting before it.
begun = {unit: begin_inside(found["ControlGroup"]) for unit, found in running.items()}
for unit in given["units"]:
    if unit not in running:
        out["units"][unit] = {"problem": "it does not run"}
        continue
    pid, user = int(running[unit]["MainPID"]), running[unit].get("User") or "root"
    home = pwd.getpwnam(user).pw_dir
    if unit.startswith("ollama@"):
        home = "/var/lib/holdfast/ollama/" + unit[7:].rpartition(".")[0]
    out["units"][unit] = {
        "reach": end_inside(*begun[unit]), "store": writes(pid, user, given["store"]), "home": writes(pid, user, home)
    }  # fmt: skip
print(json.dumps(out))
