"""Runs on the workstation as root: where do some words stand that nobody but root may read?

``WORDS`` (name -> word) and ``SINCE`` (a file that was made before any of them) are put above this text, which comes by
stdin. Looked at: every file that every user can reach and read and that was written since, and the whole journal with all
its fields. Prints name -> places, as JSON. Standard library only.
"""

# ruff: noqa: F821

import json
import os
import stat
import subprocess

# Not its ctime: every apply that looks after its mode renews that.
since = os.stat(SINCE).st_mtime_ns
found = {name: [] for name in WORDS}
seen = {"files": 0, "journal": 0}


def look(place, content):
    for name, word in WORDS.items():
        if word.encode() in content:
            found[name].append(place)


for top in ("/", "/dev/shm", "/run", "/tmp"):
    here = os.stat(top).st_dev
    for folder, folders, names in os.walk(top):
        reached = []
        for name in folders:
            st = os.lstat(os.path.join(folder, name))
            if stat.S_ISDIR(st.st_mode) and st.st_mode & stat.S_IXOTH and st.st_dev == here:
                reached.append(name)
        folders[:] = reached
        for name in names:
            path = os.path.join(folder, name)
            try:
                st = os.lstat(path)
                # The time of the inode's last change: nobody can set it, so what is older holds no newer word.
                if not stat.S_ISREG(st.st_mode) or not st.st_mode & stat.S_IROTH or st.st_ctime_ns < since:
                    continue
                with open(path, "rb") as f:
                    look(path, f.read())
                seen["files"] += 1
            except OSError:
                continue

# All fields of every entry: a command line that was logged with one stands there, too.
with subprocess.Popen(["journalctl", "--no-pager", "-a", "-o", "export"], stdout=subprocess.PIPE) as journal:
    rest = b""
    while block := journal.stdout.read(1 << 22):
        look("journal", rest + block)
        rest = block[-200:]
        seen["journal"] += len(block)

print(json.dumps({"found": {name: sorted(set(places)) for name, places in found.items()}, "seen": seen}))
