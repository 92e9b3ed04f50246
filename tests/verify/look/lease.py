"""Runs on the machine: after each instance's answer, which processes have which lease; and the modes of the leases' files.

By the open files of every process (/proc/PID/fd) and the kernel's list of locks, not by what the leases say of themselves.
"""

import glob
import grp
import http.client
import json
import os
import pwd
import stat
import sys

LONG = 900  # seconds, as in look/ollama.py


def content(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return ""


def ask(port, model):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    body = {"model": model, "prompt": "Who are you?", "stream": False, "options": {"num_predict": 2}}
    try:
        connection.request("POST", "/api/generate", json.dumps(body))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def locked(path):
    about = os.stat(path)
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    return any(row.split()[1] == "FLOCK" and row.split()[5] == place for row in content("/proc/locks").splitlines())


def holders(path):
    """[unit, program] of every process that has the file open."""
    found = set()
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) != path:
                continue
        except OSError:
            continue
        pid = link.split("/")[2]
        words = content(f"/proc/{pid}/cmdline").split("\0")
        unit = content(f"/proc/{pid}/cgroup").strip().rpartition("/")[2]
        found.add((unit, "supervisor" if any(w.endswith("/lease/supervisor.py") for w in words) else "server"))
    return sorted(found)


def about(path):
    st = os.lstat(path)
    kind = "folder" if stat.S_ISDIR(st.st_mode) else "file" if stat.S_ISREG(st.st_mode) else "other"
    user, group = pwd.getpwuid(st.st_uid).pw_name, grp.getgrgid(st.st_gid).gr_name
    return [kind, f"{stat.S_IMODE(st.st_mode):04o}", user, group]


given = json.loads(sys.argv[1])
directory = given["directory"]
asked = {}
for role, (port, model) in given["instances"].items():
    status = ask(port, model)
    leases = {os.path.basename(path)[:-6]: path for path in glob.glob(f"{directory}/*.lease")}
    asked[role] = {"status": status, "held": {name: holders(path) for name, path in leases.items() if locked(path)}}
files = {}
if os.path.isdir(directory):
    files[directory] = about(directory)
    for folder, folders, names in os.walk(directory):
        for name in folders + names:
            files[os.path.join(folder, name)] = about(os.path.join(folder, name))
print(json.dumps({"asked": asked, "files": files}))
