"""The verb `bench`."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from holdfast.bench import plot, session
from holdfast.bench.job import LEAST_RUNS, TOKENS, Served, Wanted, job
from holdfast.bench.report import Report, data, report
from holdfast.cli import bench_table, hosts, remote
from holdfast.cli.outcome import Outcome
from holdfast.cli.parser import add_host
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.paths import from_there, state_dir
from holdfast.settings import fitting
from holdfast.settings.workstation import Workstation

ABOUT = """\
Measures each model on the machine itself, and says whether that is what its cards allow: tokens a second for prompts of
several lengths, time to the first token, load and hand-over, as a share of the roofline (what the memory's speed permits).
It proves with /api/ps, the journal and nvidia-smi that all of a model is on its planned cards. Exit 1 when a model does not
answer, is not wholly there, or is below `ollama.min_roofline`; the likeliest reasons are named.

It unloads and loads each model and keeps the cards for minutes. It takes its turn like everybody: no answer is ever cut;
who asks the same instance meanwhile comes between two of its answers, and who asks another one as well, once the minimum
hold is over (`ollama.lease_min_hold_s`). While somebody's answer is in the making it does not begin, unless --force.

  ./holdfast bench gpu-box
  ./holdfast bench gpu-box --instance coder --lengths 128,4096 --runs 9
  ./holdfast bench gpu-box --out speed.svg --json
  ./holdfast bench --compare        the throw-away machine, and what everything around llama-server costs
"""
ROUNDS = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    add_host(parser, "a host of hosts.yml, or @local (default: the throw-away machine)")
    parser.add_argument(
        "--runs", type=int, default=LEAST_RUNS, metavar="N", help=f"generations for each length ({LEAST_RUNS})"
    )
    parser.add_argument("--tokens", type=int, default=TOKENS, metavar="N", help=f"length of each answer ({TOKENS})")
    parser.add_argument(
        "--lengths", type=_lengths, default=(), metavar="N,N", help="of the prompts, in tokens (by the context)"
    )
    parser.add_argument(
        "--instance", action="append", default=[], metavar="ROLE", help="only this one (may be repeated)"
    )
    parser.add_argument("--hand-overs", type=int, default=3, metavar="N", help="of each direction (3); 0: none")
    parser.add_argument("--out", type=from_there, metavar="FILE.svg", help="where the plot goes (the state folder)")
    parser.add_argument("--force", action="store_true", help="also while an answer is in the making")
    parser.add_argument(
        "--compare", type=int, nargs="?", const=ROUNDS, default=0, metavar="N",
        help=f"N rounds ({ROUNDS}) against a plain Ollama and a bare llama-server started by hand; for instances without cards",
    )  # fmt: skip


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    ws = hosts.settings(hosts.chosen(args.host))
    wanted = Wanted(
        args.runs, args.tokens, tuple(args.lengths), tuple(args.instance), args.hand_overs, args.compare, args.force
    )
    target = args.out or state_dir() / "bench" / f"{ws.name}.svg"
    if args.out and not target.parent.exists():
        raise HoldfastError(f"--out {args.out}: no folder {target.parent}", fix=f"mkdir -p {target.parent}", code=2)
    writable(target)
    # What is wrong with the words is said before anything is connected.
    job(ws, wanted if ws.require_gpu else replace(wanted, compare=0), [], served)
    ws = as_it_is(ws)
    with _root(ws, progress) as sudo:
        try:
            found = session.measure(_python(ws), job(ws, wanted, sudo, served), progress, name=ws.name, hint=ws.login)
        except KeyboardInterrupt:
            ended = "interrupted; what ran for it on the machine ends with it"
            raise HoldfastError(ended, fix=f"./holdfast bench {ws.name} measures anew", code=130) from None
    if found["busy"] and not args.force:
        who = ", ".join(found["busy"])
        fix = "wait until it has ended, or add --force: bench then takes its turn behind it, and the figures suffer"
        raise HoldfastError(f"{ws.name}: {who} is generating for somebody; nothing was measured", fix=fix)
    made = report(ws, fitting.verdicts(ws), found, args.tokens)
    return outcome(made, target, _draw(made, target))


def as_it_is(ws: Workstation) -> Workstation:
    """The settings with those instances on the processor whose declared cards are not there, where `require_gpu: false`
    allows it."""
    if ws.require_gpu or not any(instance.gpus for instance in ws.instances.values()):
        return ws
    # Late: they bring pyinfra along.
    from holdfast.components.nvidia.checks import usable_gpus
    from holdfast.components.nvidia.facts import NvidiaState, from_json

    there = {gpu.address for gpu in usable_gpus(from_json(remote.fact(ws, NvidiaState, root="/")))}
    instances = {
        role: one if all(ws.addresses[name] in there for name in one.gpus)
        else one.model_copy(update={"gpus": [], "lease": list(one.held)})
        for role, one in ws.instances.items()
    }  # fmt: skip
    return ws.model_copy(update={"instances": instances})


def served(role: str) -> Served:
    """An instance as the component puts it on a machine."""
    # Late: it brings pyinfra along.
    from holdfast.components.ollama import files

    return Served(files.unit_name(role), files.environment_file(role), files.SUPERVISOR, f"{files.DEST}/current")


def writable(target: Path) -> None:
    """Raises HoldfastError where the plot could not be written: that is said before minutes are spent, not after them."""
    other = "--out FILE names a file that you may write, in a folder that is there"
    if target.is_dir():
        raise HoldfastError(
            f"{target} is a folder", allowed="the file for the plot", fix=f"--out {target}/speed.svg", code=2
        )
    try:
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
        there = target.exists()
        target.open("a").close()
        if not there:
            target.unlink()
    except OSError as error:
        raise HoldfastError(f"the plot {target} cannot be written: {error.strerror}", fix=other, code=2) from None


def _draw(made: Report, target: Path) -> str:
    """Why the plot could not be written: what was measured is told all the same."""
    try:
        target.write_text(plot.svg(made.results, f"{made.host}: decoding", made.min_roofline), encoding="utf-8")
    except OSError as error:
        return f"the plot {target} could not be written: {error.strerror}"
    return ""


def outcome(made: Report, target: Path, problem: str = "") -> Outcome:
    """Exit code 1 when an instance, a comparison or the plot (``problem``) failed."""
    found = data(made)
    if problem:
        found |= {"problems": [*found["problems"], problem], "failed": True, "plot": None}
        lines = [*bench_table.lines(made), f"FAILED: {problem}", "    Fix: make room there, or --out FILE"]
        return Outcome(found, lines, 1)
    return Outcome({**found, "plot": str(target)}, [*bench_table.lines(made), f"plot: {target}"], int(made.failed))


def _lengths(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers; write 128,4096") from None
    if found[0] < 32:
        raise argparse.ArgumentTypeError(f"{found[0]} tokens: 32 or more, since the question alone has as many")
    return found


def _python(ws: Workstation) -> list[str]:
    """What reads the program from its stdin on the machine, as the login user."""
    if ws.local:
        return [sys.executable, "-I", "-S", "-"]
    ssh, *others = remote.ssh_words(ws)
    # A machine that falls off the network in these minutes is noticed, and not waited for.
    return [ssh, "-o", "ServerAliveInterval=15", *others, shlex.join(["python3", "-I", "-S", "-"])]


@contextlib.contextmanager
def _root(ws: Workstation, progress: Shown) -> Iterator[list[str]]:
    """The words before a command that must be root there: the journal of a unit is not everybody's. Without cards nothing is
    proved by it, and nobody is asked for a password."""
    if not any(instance.gpus for instance in ws.instances.values()):
        yield []
        return
    from holdfast.cli.askpass import answering

    with answering(ws, progress) as (needed, environment):
        asking = environment.get("HOLDFAST_ASKPASS", "")
        yield [] if not needed else ["env", f"SUDO_ASKPASS={asking}", "sudo", "-A"] if asking else ["sudo", "-n"]
