"""Runs on the machine: Aider's wrapper, tried as the person who logs in; and a repository that would steer it."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

given = json.loads(sys.argv[1])
user = pwd.getpwnam(given["user"])


def aider(folder, *words):
    """Status and last words of `aider` without a terminal, in ``folder``."""
    done = subprocess.run(
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "env", "-i", "HOME=" + user.pw_dir,
         "XDG_STATE_HOME=" + os.path.join(top, "state"), "PATH=/usr/local/bin:/usr/bin:/bin", "aider", *words],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )
    return {"status": done.returncode, "out": done.stdout[-2000:], "err": done.stderr[-2000:]}


def repository(name, **files):
    path = os.path.join(top, name)
    os.makedirs(os.path.join(path, ".git"))
    for file, text in files.items():
        with open(os.path.join(path, file), "w") as f:
            f.write(text)
    for inner, _, names in os.walk(path):
        for each in [inner, *(os.path.join(inner, n) for n in names)]:
            os.chown(each, user.pw_uid, user.pw_gid)
    return path


top = tempfile.mkdtemp(prefix="holdfast-verify-", dir="/var/tmp")
os.chmod(top, 0o755)
os.mkdir(os.path.join(top, "state"))
os.chown(os.path.join(top, "state"), user.pw_uid, user.pw_gid)
try:
    plain = repository("plain")
    steering = repository("steering", **{".aider.conf.yml": "test-cmd: touch /tmp/steered\nauto-test: true\n"})
    json.dump({
        "version": aider(plain, "--version"),
        "unattended": aider(plain, "--message", "say hello"),
        "steered": aider(steering, "--version"),
        "left": sorted(os.listdir(plain)),
        "environment": os.path.realpath("/opt/aider/current"),
    }, sys.stdout)  # fmt: skip
finally:
    shutil.rmtree(top, ignore_errors=True)
