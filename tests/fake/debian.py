"""apt, accounts and authorities of a Debian or Ubuntu machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

from tests.fake.machine import Account, Failed, Machine, hears, runs

from holdfast.components.base.operations import CERTIFICATES, read_authorities
from holdfast.operations.account import read_account
from holdfast.operations.packages import read_apt_lock

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# package -> (what its post-installation does, and what apt must be told to find it in which version)
INSTALLED: dict[str, Callable[[Machine], None]] = {}
VERSIONS: dict[str, Callable[[Machine], str]] = {}


@runs(read_apt_lock)
def lock(m: Machine) -> str | None:
    m.driver.upgrading_for -= 1
    if m.driver.upgrading and m.driver.upgrading_for >= 0:
        return "apt-get (pid 77)"
    m.driver.upgrading = []
    return None


@hears(r"^dpkg-query -W -f '[^']*' (?P<names>.*?) 2>/dev/null; true$")
def query(m: Machine, found: re.Match[str], stdin: str) -> str:
    names = shlex.split(found["names"])
    return "\n".join(f"{name} {m.packages[name]} ii " for name in names if name in m.packages)


@hears(r"apt-get .*?--allow-downgrades install (?P<names>[^\n]*?) 2>&1\) && exit 0; ")
def install(m: Machine, found: re.Match[str], stdin: str) -> None:
    assert "NEEDRESTART_SUSPEND=1" in found.string and "noninteractive" in found.string
    wanted = [item.partition("=")[::2] for item in shlex.split(found["names"])]
    for name, version in wanted:
        offered = VERSIONS[name](m) if name in VERSIONS else "1.0"
        if not offered or (version and version != offered):
            raise Failed(f"E: Unable to locate package {name}" if not offered else f"E: Version '{version}' was not found")
    for name, _ in wanted:
        m.change(f"install {name}")
        m.packages[name] = VERSIONS[name](m) if name in VERSIONS else "1.0"
        INSTALLED.get(name, lambda m: None)(m)


VERSIONS["python3"] = lambda m: m.python


@runs(read_account)
def account(m: Machine, user: str) -> Any:
    found = m.accounts.get(user)
    if found is None:
        return {"exists": False, "groups": [], "known": m.groups}
    return {
        "exists": True, "home": found.home, "shell": found.shell, "groups": list(found.groups), "known": m.groups
    }  # fmt: skip


@hears(r"^useradd --system -U -M -d (?P<home>\S+) -s (?P<shell>\S+)(?: -G (?P<groups>\S+))? (?P<user>\S+)$")
def useradd(m: Machine, found: re.Match[str], stdin: str) -> None:
    if found["user"] in m.accounts:
        raise Failed(f"useradd: user '{found['user']}' already exists")
    m.change(f"useradd {found['user']}")
    m.groups.append(found["user"])
    m.accounts[found["user"]] = Account(found["home"], found["shell"], tuple((found["groups"] or "").split(",")))
    if not found["groups"]:
        m.accounts[found["user"]] = Account(found["home"], found["shell"])


@hears(r"^usermod ")
def usermod(m: Machine, found: re.Match[str], stdin: str) -> None:
    for line in found.string.split(" && "):
        words = shlex.split(line)
        user, old = words[-1], m.accounts[words[-1]]
        m.change(line)
        if words[1] == "-d":
            m.accounts[user] = Account(words[2], words[4], old.groups)
        else:
            assert words[1:3] == ["-a", "-G"], line
            added = tuple(g for g in words[3].split(",") if g not in old.groups)
            m.accounts[user] = Account(old.home, old.shell, old.groups + added)


def bundle(m: Machine) -> None:
    pems = [m.text(path) or "" for path in sorted(m.disk) if path.startswith(CERTIFICATES + "/") and path.endswith(".crt")]
    m.write(BUNDLE, "(the distribution's)\n" + "".join(pems))


INSTALLED["ca-certificates"] = bundle


@runs(read_authorities)
def trusted(m: Machine, bundle: str, folder: str, certificates: dict[str, str]) -> dict[str, list[str]]:
    text = m.text(bundle) or ""
    there = {path.rpartition("/")[2].removesuffix(".removed") for path in m.disk if path.startswith(f"{folder}/holdfast-")}
    return {
        "stale": [],  # the links beside the bundle are update-ca-certificates' own matter here
        "untrusted": [name for name, pem in certificates.items() if pem.strip() not in text],
        "undeclared": sorted(there - set(certificates)),
    }


@hears(r"^update-ca-certificates >/dev/null$")
def update(m: Machine, found: re.Match[str], stdin: str) -> None:
    if "ca-certificates" not in m.packages:
        raise Failed("sh: 1: update-ca-certificates: not found")
    m.change("update-ca-certificates")
    bundle(m)


@hears(r"^set -e; (?P<aside>.*); update-ca-certificates --fresh >/dev/null; (?P<gone>rm -f .*)$")
def update_fresh(m: Machine, found: re.Match[str], stdin: str) -> None:
    for line in found["aside"].split("; "):
        source, target = shlex.split(line)[-2:]
        assert line == f"[ ! -e {source} ] || mv -f {source} {target}" and not target.endswith(".crt")
        if source in m.disk:
            m.change(f"mv {source}")
            m.put(target, m.disk.pop(source))
    m.change("update-ca-certificates --fresh")
    bundle(m)
    for line in found["gone"].split("; "):
        *remove, path = shlex.split(line)
        assert remove == ["rm", "-f"]
        m.change(f"rm {path}")
        m.remove(path)
