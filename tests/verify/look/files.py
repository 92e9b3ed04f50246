"""Runs on the machine: kind, mode, owner and size of files; of all below them and their SHA-256 where asked."""

import grp
import hashlib
import json
import os
import pwd
import stat
import sys

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo"}


def name_of(number, table):
    try:
        return table(number)[0]
    except KeyError:
        return str(number)


def one(path, hashes):
    try:
        st = os.lstat(path)
    except OSError:
        return None
    out = {
        "kind": KINDS.get(stat.S_IFMT(st.st_mode), "other"),
        "mode": f"{stat.S_IMODE(st.st_mode):04o}",
        "user": name_of(st.st_uid, pwd.getpwuid),
        "group": name_of(st.st_gid, grp.getgrgid),
        "size": st.st_size,
    }
    if out["kind"] == "link":
        out["target"] = os.readlink(path)
    if hashes and out["kind"] == "file":
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            while data := f.read(1 << 20):
                digest.update(data)
        out["sha256"] = digest.hexdigest()
    return out


given = json.loads(sys.argv[1])
out = {}
for path in given["paths"]:
    out[path] = one(path, given["hashes"])
    if given["below"]:
        for folder, folders, names in os.walk(path):
            for name in folders + names:
                inner = os.path.join(folder, name)
                out[inner] = one(inner, given["hashes"])
print(json.dumps(out))
