"""Software in versioned folders: releases, uv, environments of locked Python packages."""

from __future__ import annotations

import re
import shlex
from typing import Any

from tests.fake.disk import sha256
from tests.fake.machine import Failed, Inode, Machine, hears, runs
from tests.fake.systemd import act

from holdfast.components.base.operations import read_uv
from holdfast.components.ollama.install import tend_tree
from holdfast.components.ollama.leases import tend_leases
from holdfast.operations.release import read_release
from holdfast.operations.venv import UV, read_environments

FETCHER = "/usr/local/lib/holdfast/holdfast_onhost/fetch.py"


def download(m: Machine, url: str, sha256: str) -> None:
    """holdfast_onhost/fetch.py."""
    if m.text(FETCHER) is None or "python3" not in m.packages:
        raise Failed(f"/usr/bin/python3: can't open file '{FETCHER}'")
    if m.offers.get(url) != sha256:
        raise Failed(f"error: {url}: expected sha256:{sha256}, found {m.offers.get(url, 'HTTP 404')}")


@runs(read_release)
def release(m: Machine, dest: str, name: str) -> Any:
    current = m.disk.get(f"{dest}/current")
    marker = (m.text(f"{dest}/{name}/.holdfast-release") or "").strip()
    return {"marker": marker, "current": current.target if current and current.kind == "link" else ""}


@hears(
    r"fetch\.py (?P<url>\S+) (?P<size>\S+) (?P<sha>\S+) (?P<file>\S+) >/dev/null; "
    r"rm -rf \S+/\.new-\*; mkdir (?P<new>\S+); .*; sync -f (?P=new); echo .*mv \S+ (?P<target>\S+); "
)
def unpack(m: Machine, found: re.Match[str], stdin: str) -> None:
    if "zstd" not in m.packages:
        raise Failed("tar (child): zstd: Cannot exec: No such file or directory")
    download(m, found["url"], found["sha"])
    target, new = found["target"], found["new"]
    m.change(f"unpack {new}")
    m.put(new, Inode("directory"))
    m.write(f"{new}/bin/ollama", f"a program of {found['sha']}")
    m.change(f"move it to {target}")
    m.remove(new)
    m.remove(target)
    m.put(target, Inode("directory"))
    m.write(f"{target}/bin/ollama", f"a program of {found['sha']}")
    m.write(f"{target}/.holdfast-release", found["sha"] + "\n")


@hears(r"^set -e; cd (?P<dest>\S+); old=.*ln -sfn (?P<version>\S+) \.current; ")
def switch(m: Machine, found: re.Match[str], stdin: str) -> None:
    dest, old = found["dest"], m.disk.get(f"{found['dest']}/current")
    m.change(f"{dest}/current -> {found['version']}")
    m.put(f"{dest}/current", Inode("link", "777", target=found["version"]))
    before = old.target if old else ""
    sha = (m.text(f"{dest}/{before}/.holdfast-release") or "").strip()
    keep = {found["version"], before if len(sha) == 64 and before.endswith("-" + sha[:12]) else "", "current"}
    for name in {p[len(dest) + 1 :].split("/")[0] for p in m.disk if p.startswith(dest + "/")} - keep:
        m.remove(f"{dest}/{name}")


@runs(tend_tree)
def tree(m: Machine, release: str, wrapper: str, repair: bool) -> list[str]:
    """The vendor's archive has, besides the program, a llama-server and one library."""
    if f"{release}/bin/ollama" not in m.disk:
        return [release]
    ours, program = f"{release}/serve", m.text(f"{release}/bin/ollama") or ""
    wanted = {
        f"{ours}/bin/ollama": Inode("file", "755", data=program.encode()),
        f"{ours}/lib/ollama/llama-server": Inode("file", "755", data=wrapper.encode()),
        f"{ours}/lib/ollama/libggml-base.so": Inode("link", "777", target="../../../lib/ollama/libggml-base.so"),
    }
    wrong = [path for path, node in wanted.items() if m.disk.get(path) != node]
    for path in wrong if repair else []:
        m.change(f"put {path}")
        m.put(path, wanted[path])
    return wrong


@runs(tend_leases)
def leases(m: Machine, directory: str, user: str, repair: bool) -> list[str]:
    node, right = m.disk.get(directory), Inode("directory", "755", user, user)
    if node is None:
        running = any(name.startswith("ollama@") and unit.process for name, unit in m.units.items())
        return ["gone"] if running else []
    if node != right and repair:
        m.change(f"own {directory}")
        m.put(directory, right)
    return [] if node == right else [directory]


@hears(r"^systemctl try-restart 'ollama@\*\.service'$", first=True)
def try_restart(m: Machine, found: re.Match[str], stdin: str) -> None:
    for name, unit in list(m.units.items()):
        if name.startswith("ollama@") and unit.process:
            act(m, "restart", name)


@runs(read_uv)
def uv(m: Machine, link: str) -> str:
    works = m.text(f"{link}/bin/uv") is not None
    return (m.text(f"{link}/.holdfast-lock") or "").strip() if works else ""


@hears(r"rm -rf (?P<home>/opt/holdfast/uv-\w+); python3 -m venv --without-pip ")
def install_uv(m: Machine, found: re.Match[str], stdin: str) -> None:
    home = found["home"]
    if {"python3", "python3-venv"} - set(m.packages):
        raise Failed("The virtual environment was not created successfully because ensurepip is not available.")
    assert "--hash=sha256:" in stdin
    m.change(f"make {home}")
    m.remove(home)
    m.put(home, Inode("directory"))
    m.change(f"install uv into {home}")
    m.write(f"{home}/bin/uv", "uv")
    m.write(f"{home}/.holdfast-lock", home.rpartition("-")[2] + "\n")
    m.change(f"/opt/holdfast/uv -> {home}")
    m.put("/opt/holdfast/uv", Inode("link", "777", target=home.rpartition("/")[2]))
    for name in {p.split("/")[3] for p in m.disk if p.startswith("/opt/holdfast/uv-")}:
        if f"/opt/holdfast/{name}" != home:
            m.remove(f"/opt/holdfast/{name}")


@runs(read_environments)
def environments(m: Machine, dest: str, python: str) -> Any:
    def link(name: str) -> str:
        node = m.disk.get(f"{dest}/{name}")
        return node.target if node and node.kind == "link" else ""

    folders = {p[len(dest) + 1 :].split("/")[0] for p in m.disk if p.startswith(dest + "/")}
    present = sorted(name for name in folders if "-py" in name)
    whole = [n for n in present if f"{dest}/{n}/.complete" in m.disk and f"{dest}/{n}/bin/python" in m.disk]
    version = m.python if python == "python3" and "python3" in m.packages else ""
    sound = [n for n in whole if sha256((m.text(f"{dest}/{n}/requirements.txt") or "").encode())[:12] == n.partition("-")[0]]
    return {
        "python": version, "current": link("current"), "previous": link("previous"), "present": present, "complete": whole,
        "sound": sound,
    }  # fmt: skip


@hears(r"^sh -c .*pip sync.* sh (?P<dest>\S+) (?P<name>\S+) (?P<python>\S+) (?P<uv>\S+) (?P<finish>'.*')$")
def build(m: Machine, found: re.Match[str], stdin: str) -> None:
    dest, folder = found["dest"], f"{found['dest']}/{found['name']}"
    if found["uv"] != UV or m.text(UV) is None:
        raise Failed(f"error: {found['uv']} is not there\nFix: apply all of it: the base component installs uv")
    assert "--hash=sha256:" in stdin
    m.change(f"make {folder}")
    m.remove(folder)
    m.put(folder, Inode("directory"))
    m.write(f"{folder}/bin/python", f"python {found['python']}")
    m.change(f"install into {folder}")
    for program in ("open-webui", "aider"):
        if f"/{program}" in dest:
            m.write(f"{folder}/bin/{program}", "a program")
    m.write(f"{folder}/requirements.txt", stdin)
    m.change(f"mark {folder} as complete")
    m.write(f"{folder}/.complete", "")


@hears(r"^sh -c .*previous\.new.* sh (?P<dest>\S+) (?P<name>\S+) (?P<back>\S+)$")
def switch_environment(m: Machine, found: re.Match[str], stdin: str) -> None:
    dest, back = found["dest"], found["back"].strip("'")
    if back:
        m.change(f"{dest}/previous -> {back}")
        m.put(f"{dest}/previous", Inode("link", "777", target=back))
    m.change(f"{dest}/current -> {found['name']}")
    m.put(f"{dest}/current", Inode("link", "777", target=found["name"]))


@hears(r"^rm -rf -- (?P<paths>/(opt|etc|run|var)/\S+( /(opt|etc|run|var)/\S+)*)$")
def remove_old(m: Machine, found: re.Match[str], stdin: str) -> None:
    for path in shlex.split(found["paths"]):
        m.change(f"remove {path}")
        m.remove(path)
