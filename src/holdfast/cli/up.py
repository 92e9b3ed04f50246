"""The verb `up`."""

from __future__ import annotations

import argparse
import fcntl
import os
from pathlib import Path
from typing import IO, Any

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.cli import hosts, summary, verify, virtual
from holdfast.cli.outcome import Outcome
from holdfast.cli.password import Asker
from holdfast.cli.pci import has_nvidia
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.paths import from_there, hosts_file, state_dir
from holdfast.settings.inventory import groups
from holdfast.settings.workstation import Workstation

ABOUT = """\
Brings a machine into the state that hosts.yml describes, waits until its models answer, and checks it.
Run it again at any time: what is right already is not touched.

  ./holdfast up                                   a throw-away machine on this computer, from real parts
  ./holdfast up --vm                              the same with a kernel of its own, in qemu
  HOLDFAST_LAB=second ./holdfast up               another one beside it; so, too, before down, plan, status, verify
  ./holdfast up gpu-box                           the host gpu-box of hosts.yml, over SSH
  ./holdfast up @local                            this computer: the host of hosts.yml with `local: true`
  ./holdfast up gpu-box --set instances.coder.context=8192      another value, for this once
  ./holdfast up --model coder=my.gguf             serve another model file in the throw-away machine
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument(
        "host", nargs="?", metavar="HOST", help="a host of hosts.yml, or @local (default: a throw-away one)"
    )
    hosts.add_set(parser)
    parser.add_argument(
        "--model", action="append", default=[], metavar="ROLE=FILE.gguf", dest="models",
        help="throw-away machine only: the model file that a role gets",
    )  # fmt: skip
    parser.add_argument("--release", choices=("bookworm", "trixie"), help="throw-away machine only: Debian release (bookworm)")
    parser.add_argument(
        "--vm", action="store_true",
        help="throw-away machine only: a virtual machine (KVM where that works, else in software)",
    )  # fmt: skip
    parser.add_argument("--no-verify", action="store_true", help="leave out the checks at the end")
    hosts.add_reboot(parser)


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    values = hosts.asked_for(args)
    name = hosts.LAB if args.host is None else host_of(args)
    hosts.set_for(name, values)
    state, accelerator = None, ""
    if args.host is None:
        groups()
        hosts.tried(name, values)
        if has_nvidia() and not hosts_file().exists():
            progress.note("this computer has an NVIDIA GPU: for itself, begin with ./holdfast init @local")
            progress.note("now building a throw-away machine; but for packages from apt, nothing of this computer is changed")
        if args.vm or virtual.is_one(progress):
            state, accelerator = virtual.lab_up(args.release, progress, model_files(args.models))
        else:
            state = lab_up(args, progress)
    ws = hosts.settings(name)
    asker = Asker(progress)
    with progress.phase("apply"):
        log = log_of("up", name)
        result = runner.apply(name, log=log, progress=progress, ask=asker)
    if state is not None and accelerator:
        state, result = virtual.moved(
            state, accelerator, result, progress, lambda: runner.apply(name, log=log, progress=progress)
        )
    with progress.phase("answers"):
        seen = summary.look(ws)
    checks = None
    if not args.no_verify:
        with progress.phase("verify"):
            checks = verify.check(ws, progress, expect=verify.expected(name), password=asker.given)
    return finished(ws, state, result, seen, checks, progress)


def host_of(args: argparse.Namespace) -> str:
    """The named host; options for a throw-away machine that is yet to be made are refused, also for one that lives."""
    given = [
        option for option, value in (("--model", args.models), ("--release", args.release), ("--vm", args.vm)) if value
    ]
    name = hosts.chosen(args.host)
    if given:
        raise HoldfastError(
            f"{given[0]} is for the throw-away machine only, which `up` makes where no HOST is named",
            fix="leave out HOST, or the option",
            code=2,
        )
    return name


def lab_up(args: argparse.Namespace, progress: Shown) -> Any:
    """The living throw-away machine."""
    from holdfast.lab import Lab, state

    living = state.load(hosts.LAB)
    release = args.release or (living.release if living else virtual.RELEASE)
    return Lab(hosts.LAB, release).up(progress, model_files(args.models))


def model_files(pairs: list[str]) -> dict[str, Path] | None:
    """``ROLE=FILE`` -> an existing GGUF file, relative to where the person stands. None without any."""
    if not pairs:
        return None
    from holdfast.lab.models.roles import ROLES

    chosen: dict[str, Path] = {}
    known = [role.name for role in ROLES]
    for pair in pairs:
        role, equals, file = pair.partition("=")
        path = from_there(file).resolve()
        if not equals or not role:
            raise HoldfastError(f"--model {pair!r:.80}", allowed="ROLE=FILE.gguf", fix="--model coder=my.gguf", code=2)
        if not path.is_file():
            raise HoldfastError(f"--model {role}: no file {path}", fix="name an existing GGUF file", code=2)
        if role not in known:
            fix = f"--model {known[0]}={file}"
            raise HoldfastError(f"--model {role}: no such role", allowed=", ".join(known), fix=fix, code=2)
        with path.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise HoldfastError(f"--model {role}: {path} is no GGUF file", fix="name a GGUF file", code=2)
        chosen[role] = path
    return chosen


def log_of(verb: str, name: str) -> Path:
    """Where pyinfra's own words go; begun anew. Where another run is writing there, a file with this process's number."""
    folder = state_dir() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for log in (folder / f"{verb}-{name}.log", folder / f"{verb}-{name}.{os.getpid()}.log"):
        file = log.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        file.truncate(0)
        _in_use.append(file)
        break
    return log


# Open, and so locked, until this process ends.
_in_use: list[IO[bytes]] = []


def finished(
    ws: Workstation, state: Any, result: Result, seen: dict[str, Any], checks: verify.Checks | None, progress: Shown
) -> Outcome:
    """The JSON object, the table, and the exit code."""
    data = summary.data(ws, state, result, seen, checks, progress.seconds)
    lines = summary.lines(ws, data, result, seen, checks)
    return Outcome(data, lines, 1 if checks is not None and checks.failed else 0)
