"""The verb `init`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.cli import hosts, init_block, init_cards, init_file, init_update
from holdfast.cli.init_edit import Unsafe
from holdfast.cli.outcome import Outcome
from holdfast.cli.pci import read_slots
from holdfast.cli.show import Shown
from holdfast.cli.telling import printing
from holdfast.errors import HoldfastError, SettingsError
from holdfast.fit.slot import Slot
from holdfast.paths import hosts_file
from holdfast.settings.document import parse_mapping
from holdfast.settings.fitting import FitError
from holdfast.settings.loader import UnknownHost, one_local, profiles, resolve, site
from holdfast.settings.merge import merge
from holdfast.settings.workstation import NAME, Workstation

ABOUT = """\
Looks at a machine (its NVIDIA cards, by what the PCI bus says; no driver is needed) and writes its block into hosts.yml:
which card is whose, which models, which contexts, with the reason for each. Nothing is changed on the machine. A block that
is there already is replaced only after a yes.

  ./holdfast init gpu-box --ssh ada@192.168.1.20     a machine that you reach over SSH
  ./holdfast init gpu-box                            the same, by a name of your ~/.ssh/config
  ./holdfast init @local                             this computer
  ./holdfast init @local --name box --login-user ada
  ./holdfast init gpu-box --card 01:00.0=24576       a card that is not in the table: its memory in MiB
  ./holdfast init gpu-box --update                   a card was added, removed, exchanged: a diff, written after a yes
"""
PENDING = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("host", metavar="HOST", help="the name that the machine gets here, or @local for this computer")
    parser.add_argument(
        "--ssh", metavar="[USER@]ADDRESS[:PORT]", default="", help="how to reach it (default: by its name)"
    )
    parser.add_argument("--name", default="", help="with @local: the name (default: this computer's)")
    parser.add_argument(
        "--login-user", default="", metavar="USER", help="the person's account there (default: who logs in)"
    )
    parser.add_argument(
        "--card", action="append", default=[], metavar="ADDRESS=MIB|KIND|none", dest="cards",
        help="what sits there, where the table of cards does not know it; none: leave it out (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--update", action="store_true", help="propose what the machine's cards change in its block, as a diff; exit 3 where it "
        "is not written because nobody can be asked",
    )  # fmt: skip
    parser.add_argument(
        "--yes", action="store_true", help="write without a question, over a block that is there as well"
    )


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    file = hosts_file()
    given = init_cards.parse(args.cards)
    text = init_file.read(file)
    known = parse_mapping(text.encode(), str(file))
    if args.update:
        return update(args, progress, file, text, known, given)
    name = name_of(args)
    # A name that no host may have would make every other command fail; said before the machine is asked anything.
    site(name, {}, str(file))
    one_local({**known, name: {"local": args.host == "@local"}}, str(file))
    init_file.writable(file)
    if name in known and not args.yes and not init_file.can_ask():
        raise refused(name, args.host, file)
    with progress.phase("look"):
        seen = look(args, name)
    cards = init_cards.identify(seen["slots"], given, asker(progress))
    found = init_block.draft(cards.boards)
    made = init_block.block(found, connection(name, seen, args))
    # What is written is what the loader takes: it is asked first.
    ws = resolve(site(name, made, str(file)), where=str(file))
    block = init_block.text(name, found, made)
    new = init_file.with_block(text, name, block)
    init_file.check(file, text, new, name, made)
    if name in known and not args.yes:
        tell([*init_file.diff(file, text, new), ""], progress)
        if not init_file.yes(f"{name} is in {file} already. Replace its block like this?", progress):
            raise HoldfastError(
                f"{name} was left as it is", fix=f"./holdfast init {name} --update changes only what has to"
            )
    init_file.write(file, text, new)
    reasons = [*found.said.values(), *found.notes, *cards.notes]
    lines = [f"{file}: {name} is there now", "", block.rstrip(), ""]
    lines += cards.notes
    if not seen["slots"]:
        lines.append("no NVIDIA GPU was found: the profile cpu runs small models on the processor")
    lines.append(f"next: ./holdfast plan {name}   (what would change; every key: docs/settings.md)")
    data = {"file": str(file), "name": name, "block": made, "profile": ws.profile, "reasons": reasons, "written": True}
    return Outcome(data, lines)


def update(
    args: argparse.Namespace, progress: Shown, file: Path, text: str, known: Mapping[str, Any], given: Mapping[str, str]
) -> Outcome:
    """Propose what has changed in a machine's block, and write it after a yes."""
    name = known_name(args, known, file)
    raw = known[name]
    ws = settings(site(name, raw, str(file)), str(file))
    init_file.writable(file)
    with progress.phase("look"):
        slots = read_slots(None if ws.local else ws).slots
    if ws.gpus and not slots:
        fix = f"is it in its slot, and powered? without it for good: ./holdfast init {name} writes the block anew"
        raise HoldfastError(f"{name} shows no NVIDIA card any more", where="its PCI bus", fix=fix)
    cards = init_cards.identify(slots, given, asker(progress), init_update.declared(ws, raw, slots))
    proposal = init_update.propose(ws, raw, cards.boards)
    data: dict[str, Any] = {
        "file": str(file),
        "name": name,
        "reasons": [*proposal.why, *cards.notes],
        "diff": [],
        "written": False,
    }
    if not proposal.changes:
        return Outcome(data, [*cards.notes, f"{name} is as {file} says: nothing to change"])
    by_hand = "; ".join(f"{'.'.join((name, *change.path))}: {change.value}" for change in proposal.changes)
    try:
        new = proposal.applied(text, name)
        block = parse_mapping(new.encode(), str(file)).get(name)
    except (Unsafe, SettingsError):
        raise init_file.unsafe(file, f"by hand: {by_hand}") from None
    if block != intended(raw, proposal):
        raise init_file.unsafe(file, f"by hand: {by_hand}")
    init_file.check(file, text, new, name, block)
    resolve(site(name, block, str(file)), where=f"{file}, as proposed")
    data["diff"] = init_file.diff(file, text, new)
    lines = [*data["reasons"], "", *data["diff"], ""]
    if not args.yes:
        if not init_file.can_ask() or args.json:
            return Outcome(
                data, [*lines, f"not written; to write it: ./holdfast init {args.host} --update --yes"], PENDING
            )
        tell(lines, progress)
        if not init_file.yes(f"Write this to {file}?", progress):
            raise HoldfastError(
                f"{name} was left as it is", fix=f"./holdfast init {args.host} --update proposes it again"
            )
        lines = []
    init_file.write(file, text, new)
    return Outcome(
        {**data, "written": True}, [*lines, f"{file}: written", f"next: ./holdfast plan {name}   (what would change)"]
    )


def intended(raw: Mapping[str, Any], proposal: init_update.Proposal) -> dict[str, Any]:
    """The block with the changes in it, computed without its text."""
    out: dict[str, Any] = dict(raw)
    for change in proposal.changes:
        *above, last = change.path
        here = out
        for key in above:
            here[key] = dict(here.get(key) or {})
            here = here[key]
        here.pop(last, None)
        if change.value is not None:
            here[last] = change.value
    return out


def settings(block: Mapping[str, Any], where: str) -> Workstation:
    """The settings, also where a model does not fit: that is what an update is for."""
    try:
        return resolve(block, where=where)
    except FitError:
        return Workstation.model_validate(merge(profiles()[str(block["profile"])], block))


def known_name(args: argparse.Namespace, known: Mapping[str, Any], file: Path) -> str:
    """The host of hosts.yml that is meant. Raises SettingsError."""
    if args.ssh or args.name or args.login_user:
        given = next(option for option in ("ssh", "name", "login_user") if getattr(args, option)).replace("_", "-")
        raise HoldfastError(
            f"--{given} with --update", fix=f"leave it out: {file} says it already; or edit it there", code=2
        )
    if args.host == "@local":
        found = next(
            (name for name, block in known.items() if isinstance(block, dict) and block.get("local") is True), ""
        )
        if not found:
            raise HoldfastError(
                "@local: no host of hosts.yml says `local: true`", where=str(file), fix="./holdfast init @local", code=2
            )
        return found
    if args.host not in known:
        raise UnknownHost(args.host, list(known))
    return str(args.host)


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


def refused(name: str, host: str, file: Path) -> HoldfastError:
    """There is a block, and nobody who could say yes."""
    fix = (
        f"./holdfast init {name} --update changes only what has to; --yes replaces the block; or write another file: "
        f"HOLDFAST_HOSTS=other.yml ./holdfast init {host}"
    )
    return HoldfastError(f"{name} is in {file} already", where=str(file), fix=fix)


def asker(progress: Shown) -> init_cards.Ask:
    """Ask for a card's memory at the terminal; nothing where there is none."""

    def ask(slot: Slot) -> str:
        if not init_file.can_ask():
            return ""
        what = f"The card at {slot.short} (PCI id 10de:{slot.device or '?'}) is not in the table of cards."
        return init_file.ask(f"{what} Its memory in MiB, or `none` to leave it out: ", progress)

    return ask


def tell(lines: list[str], progress: Shown) -> None:
    """Print now, before a question."""
    with progress.aside(), printing():
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def ssh_of(text: str) -> dict[str, Any]:
    """``ada@192.168.1.20:2222`` as hosts.yml has it."""
    found = re.fullmatch(
        r"(?:(?P<user>[^@\s]+)@)?(?P<hostname>\[[0-9a-fA-F:]+\]|[^@:\s]+)(?::(?P<port>\d{1,5}))?", text
    )
    if not found:
        raise HoldfastError(
            f"--ssh {text!r:.80}", allowed="[USER@]ADDRESS[:PORT]", fix="--ssh ada@192.168.1.20", code=2
        )
    parts: dict[str, Any] = {"hostname": found["hostname"].strip("[]")}
    if found["user"]:
        parts["user"] = found["user"]
    if found["port"]:
        parts["port"] = int(found["port"])
    return parts


def look(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The machine's cards and who logs in."""
    if args.host == "@local":
        user = os.environ.get("SUDO_USER") or init_file.who()
        return {"slots": read_slots().slots, "user": user, "ssh": {}, "local": True}
    ssh = ssh_of(args.ssh) if args.ssh else {}
    # A stand-in with just what a connection needs.
    probe = resolve({
        "name": name, "profile": "cpu", "login_user": "ada", "ssh": ssh, "tailscale": {"enabled": False},
    })  # fmt: skip
    found = read_slots(probe)
    return {"slots": found.slots, "user": found.user, "ssh": ssh, "local": False}


def connection(name: str, seen: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """How the machine is reached, and whose account it has."""
    user = args.login_user or ("" if seen["user"] == "root" else seen["user"])
    if not user:
        raise HoldfastError(
            f"{name}: root logs in there, and the person's own account is not known",
            fix="say it: --login-user ada",
            code=2,
        )
    way: dict[str, Any] = {"local": True} if seen["local"] else {"ssh": seen["ssh"]} if seen["ssh"] else {}
    return {**way, "login_user": user}
