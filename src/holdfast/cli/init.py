"""The verb `init`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from holdfast.cli import hosts, remote
from holdfast.cli.outcome import Outcome
from holdfast.cli.pci import read_cards
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.paths import hosts_file
from holdfast.settings.document import parse_mapping, read_mapping
from holdfast.settings.loader import one_local, resolve, site
from holdfast.settings.workstation import NAME

ABOUT = """\
Looks at a machine (its NVIDIA cards, by what the PCI bus says) and writes its block into hosts.yml. Nothing is changed on
the machine. A block that is there already is replaced only after a yes.

  ./holdfast init gpu-box --ssh ada@192.168.1.20     a machine that you reach over SSH
  ./holdfast init gpu-box                            the same, by a name of your ~/.ssh/config
  ./holdfast init @local                             this computer
  ./holdfast init @local --name box --login-user ada
"""
NAMES = ("left", "right", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("host", metavar="HOST", help="the name that the machine gets here, or @local for this computer")
    parser.add_argument("--ssh", metavar="[USER@]ADDRESS[:PORT]", default="", help="how to reach it (default: by its name)")
    parser.add_argument("--name", default="", help="with @local: the name (default: this computer's)")
    parser.add_argument("--login-user", default="", metavar="USER", help="the person's account there (default: who logs in)")
    parser.add_argument("--yes", action="store_true", help="replace a block that is there, without a question")


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    name = name_of(args)
    file = hosts_file()
    # A name that no host may have would make every other command fail; said before the machine is asked anything.
    site(name, {}, str(file))
    known = read_mapping(file) if file.exists() else {}
    one_local({**known, name: {"local": args.host == "@local"}}, str(file))
    writable(file)
    if name in known and not args.yes:
        ask_to_replace(name, progress)
    with progress.phase("look"):
        seen = look(args, name)
    found = block(name, seen, args)
    # What is written is what the loader takes: it is asked first.
    ws = resolve(site(name, found, str(file)), where=str(file))
    write(name, found)
    lines = [f"{file}: {name} is there now", "", yaml_of({name: found}).rstrip(), ""]
    if not found.get("gpus"):
        lines.append("no NVIDIA GPU was found: the profile cpu runs small models on the processor")
    lines.append(f"next: ./holdfast plan {name}   (what would change; every key: docs/settings.md)")
    return Outcome({"file": str(file), "name": name, "block": found, "profile": ws.profile}, lines)


def name_of(args: argparse.Namespace) -> str:
    """A name that a host may have."""
    name = args.host
    if name == "@local":
        short = re.sub(r"[^a-z0-9_-]", "-", os.uname().nodename.split(".")[0].lower()).lstrip("-_0123456789")
        name = args.name or (short if short != hosts.LAB else "") or "workstation"
    if not re.match(NAME, name) or name == hosts.LAB:
        taken = " is the throw-away machine's name" if name == hosts.LAB else ""
        allowed = "small letters, digits, - and _, a letter first"
        raise HoldfastError(f"host name {name!r:.60}{taken}", allowed=allowed, fix="./holdfast init gpu-box", code=2)
    return str(name)


def ask_to_replace(name: str, progress: Shown) -> None:
    """Go on only after a yes at the terminal."""
    fix = f"./holdfast init … --yes replaces it; or edit {hosts_file()} yourself"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise HoldfastError(f"{name} is in {hosts_file()} already", fix=fix)
    with progress.aside():
        sys.stderr.write(f"{name} is in {hosts_file()} already. Replace its block? [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        raise HoldfastError(f"{name} was left as it is", fix=fix)


def ssh_of(text: str) -> dict[str, Any]:
    """``ada@192.168.1.20:2222`` as hosts.yml has it."""
    found = re.fullmatch(r"(?:(?P<user>[^@\s]+)@)?(?P<hostname>\[[0-9a-fA-F:]+\]|[^@:\s]+)(?::(?P<port>\d{1,5}))?", text)
    if not found:
        raise HoldfastError(f"--ssh {text!r:.80}", allowed="[USER@]ADDRESS[:PORT]", fix="--ssh ada@192.168.1.20", code=2)
    parts: dict[str, Any] = {"hostname": found["hostname"].strip("[]")}
    if found["user"]:
        parts["user"] = found["user"]
    if found["port"]:
        parts["port"] = int(found["port"])
    return parts


def look(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The machine's cards and who logs in."""
    local = args.host == "@local"
    if local:
        return {"cards": read_cards(), "user": os.environ.get("SUDO_USER") or who(), "local": True}
    ssh = ssh_of(args.ssh) if args.ssh else {}
    # A stand-in with just what a connection needs.
    probe = resolve({
        "name": name, "profile": "cpu", "login_user": "ada", "ssh": ssh, "tailscale": {"enabled": False},
    })  # fmt: skip
    user = remote.run(probe, ["id", "-un"]).stdout.strip().splitlines()[-1:]
    return {"cards": read_cards(probe), "user": user[0] if user else "", "ssh": ssh, "local": False}


def who() -> str:
    """The person at this computer."""
    import getpass

    return getpass.getuser()


def block(name: str, seen: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The host's block: the profile that fits the number of cards, and their addresses."""
    cards = seen["cards"]
    user = args.login_user or ("" if seen["user"] == "root" else seen["user"])
    if not user:
        raise HoldfastError(
            f"{name}: root logs in there, and the person's own account is not known", fix="say it: --login-user ada", code=2
        )
    profile = {0: "cpu", 1: "single_24gb"}.get(len(cards), "dual_3090")
    out: dict[str, Any] = {"profile": profile}
    if seen["local"]:
        out["local"] = True
    elif seen["ssh"]:
        out["ssh"] = seen["ssh"]
    out["login_user"] = user
    if cards:
        names = ("card",) if len(cards) == 1 else NAMES
        out["gpus"] = dict(zip(names, (card.removeprefix("0000:") for card in cards), strict=False))
    # A join key is the person's to make; until then the machine is set up without the tailnet.
    out["tailscale"] = {"enabled": False}
    return out


def yaml_of(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False)


def write(name: str, found: dict[str, Any]) -> None:
    """Put the block into hosts.yml; the rest of the file, its comments included, stays as it is."""
    file = hosts_file()
    text = file.read_text("utf-8") if file.exists() else "# The machines. Every key: docs/settings.md\n"
    kept = re.sub(rf"(?ms)^{re.escape(name)}:.*?(?=^\S|\Z)", "", text)
    new = f"{kept.rstrip()}\n{yaml_of({name: found})}"
    if parse_mapping(new.encode(), str(file)).get(name) != found:
        raise HoldfastError(f"{file} is written in a way that cannot be edited safely", fix=f"add {name} by hand")
    temporary = file.with_name(f".{file.name}.new")
    try:
        temporary.write_text(new, "utf-8")
        temporary.replace(file)
    except OSError as error:
        raise _unwritable(file, error.strerror or str(error)) from None


def writable(file: Path) -> None:
    """Raises HoldfastError where hosts.yml could not be written: said before the machine is looked at."""
    if not file.parent.is_dir():
        raise _unwritable(file, f"there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise _unwritable(file, f"no file can be made in {file.parent}")


def _unwritable(file: Path, why: str) -> HoldfastError:
    fix = f"let HOLDFAST_HOSTS name a file in a folder that the user {who()} may write to, or make {file.parent} writable"
    return HoldfastError(f"{file} cannot be written: {why}", where=str(file.parent), fix=fix)
