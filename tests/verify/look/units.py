"""Runs on the machine: the units named, their processes, and what their main process really runs with."""

import grp
import hashlib
import json
import os
import pwd
import re
import subprocess
import sys

PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,ControlGroup,NRestarts,Result,NeedDaemonReload"
# The values of these stay on the machine.
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|_KEY$")


def content(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def name_of(number, table):
    try:
        return table(number)[0]
    except KeyError:
        return str(number)


def process(pid):
    status = dict(line.split(":\t", 1) for line in content(f"/proc/{pid}/status").decode().splitlines() if ":\t" in line)
    if not status:
        return None
    digest = hashlib.sha256()
    try:
        with open(f"/proc/{pid}/exe", "rb") as f:
            while data := f.read(1 << 20):
                digest.update(data)
        exe = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        exe = ""
    return {
        "pid": pid,
        "user": name_of(int(status["Uid"].split()[1]), pwd.getpwuid),
        "group": name_of(int(status["Gid"].split()[1]), grp.getgrgid),
        "capabilities": int(status["CapEff"], 16),
        "no_new_privileges": status.get("NoNewPrivs", "").strip() == "1",
        "filtered": status.get("Seccomp", "").strip() == "2",
        "exe": exe,
        "sha256": digest.hexdigest() if exe else "",
        "argv": content(f"/proc/{pid}/cmdline").decode("utf-8", "replace").rstrip("\0").split("\0"),
    }


def environment(pid):
    out = {}
    for pair in content(f"/proc/{pid}/environ").split(b"\0"):
        key, found, value = pair.decode("utf-8", "replace").partition("=")
        if found:
            out[key] = "(set)" if value and SECRET.search(key) else value
    return out


def main(given):
    shown = subprocess.run(["systemctl", "show", "-p", PROPERTIES, *given["units"]], capture_output=True, text=True, check=True)
    out = {}
    for block in shown.stdout.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        main_pid = int(unit.get("MainPID") or 0)
        group = "/sys/fs/cgroup" + unit.get("ControlGroup", "")
        pids = content(group + "/cgroup.procs").decode().split() if unit.get("ControlGroup") else []
        unit["main"] = process(main_pid) if main_pid else None
        unit["environment"] = environment(main_pid) if main_pid else {}
        unit["processes"] = [p for p in (process(int(pid)) for pid in pids) if p]
        out[unit["Id"]] = unit
    return {"units": out}


print(json.dumps(main(json.loads(sys.argv[1]))))
