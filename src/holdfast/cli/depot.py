"""The verb `depot`: fill, show, check the local depot; resolve an unverified pin."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict

from holdfast import depot
from holdfast.cli import locks
from holdfast.cli.outcome import Outcome
from holdfast.cli.parser import common
from holdfast.cli.show import mib
from holdfast.components.models import files, pins, shapes, stock
from holdfast.components.nvidia import together
from holdfast.components.nvidia.repository import read_sources
from holdfast.depot import lock
from holdfast.lab import prerequisites
from holdfast.progress import Progress

ABOUT = """\
The depot is a folder with every program a workstation downloads, pinned and checked. A workstation takes them
from there when hosts.yml says `depot: URL` or `depot: /path` (a NAS, a USB disk), else from the vendors.

  ./holdfast depot fetch             the official releases where they can be had, else the same built here (as root,
                                     programs that are missing for that are installed with apt and named)
  ./holdfast depot list              what is pinned, what is in the depot, where it came from
  ./holdfast depot verify            read and hash every file again
  ./holdfast depot fetch driver-trixie         Debian 13's driver with its kernel, headers and compiler, as the archive has
                                     them now (about 350 MB): a set that is not in the archive any more tomorrow
  ./holdfast depot fetch qwen2.5-coder:32b     a model, for workstations with `models: {registry: depot}`
  ./holdfast depot update ollama     download the release the lock names and write its hash into the lock
  ./holdfast depot update qwen2.5-coder:32b    the same for a model: its manifest
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs on the parser of `depot`; the chosen one is in ``args.depot_verb``."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="depot_verb", metavar="fetch|list|verify|update|lock", required=True)
    one = verbs.add_parser("fetch", help="fill the depot; nothing is done again while its pin is unchanged")
    one.add_argument("names", nargs="*", metavar="NAME", help="only these artifacts or models (default: all artifacts)")
    one.add_argument("--no-build", action="store_true", help="official releases only: fail where one cannot be had")
    verbs.add_parser("list", help="pins, and what the depot has of them")
    one = verbs.add_parser("verify", help="read and hash every file again; exit 1 when one is damaged or missing")
    one.add_argument("names", nargs="*", metavar="NAME", help="only these artifacts or models (default: all that are there)")
    one = verbs.add_parser("update", help="hash the official release, or a model's manifest, and write it into the lock")
    one.add_argument("names", nargs="+", metavar="NAME", help="artifacts (locks/artifacts.yml), or models: those of "
                     "locks/models.yml, or your own, for which the lines of hosts.yml are printed")  # fmt: skip
    one.add_argument("--registry", metavar="URL", default=stock.REGISTRY, help="where models are looked up (%(default)s)")
    one = verbs.add_parser("lock", help="make the Python locks anew: with hashes, without addresses")
    one.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(locks.LOCKED)}")
    one.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    for one in verbs.choices.values():
        common(one)


def run(args: argparse.Namespace, progress: Progress) -> Outcome:
    """Do what `depot …` was asked to. Raises HoldfastError as the functions of holdfast.depot do."""
    verbs: dict[str, Callable[[argparse.Namespace, Progress], Outcome]] = {
        "fetch": fetch,
        "list": listing,
        "verify": verify,
        "update": update,
        "lock": lock_python,
    }
    return verbs[args.depot_verb](args, progress)


def fetch(args: argparse.Namespace, progress: Progress) -> Outcome:
    programs, models = split(args.names)
    sets = [together.apt_set(name, apt_sources()) for name in programs if name.startswith(together.PREFIX)]
    programs = [name for name in programs if not name.startswith(together.PREFIX)]
    artifacts = {}
    if programs or not (models or sets):
        equip(programs or None, not args.no_build, progress)
        artifacts = depot.fetch(programs or None, progress, build=not args.no_build)
    if sets and os.geteuid() == 0 and shutil.which("apt-get"):
        prerequisites.install(depot.aptset.lacking(), progress)
    entries = [depot.fetch_set(wanted, progress) for wanted in sets]
    fetched = stock.fetch(models, stock.REGISTRY, progress) if models else {}
    lines = [f"{a.name} {a.version}: {a.origin}, {mib(a.size)}, sha256:{a.sha256}" for a in artifacts.values()]
    lines += [f"{entry.name} {entry.version}: {contents(entry)}" for entry in entries]
    lines += [f"{name}: manifest {digest}" for name, digest in fetched.items()]
    data = {"root": str(depot.root()), "artifacts": [asdict(a) for a in artifacts.values()], "models": fetched,
            "sets": [asdict(entry) for entry in entries]}  # fmt: skip
    return Outcome(data, [*lines, f"depot: {depot.root()}"])


def apt_sources() -> list[dict[str, str]]:
    """What this computer's own apt takes packages from."""
    found: list[dict[str, str]] = read_sources("/etc/apt")["sources"]
    return found


def contents(entry: depot.Entry) -> str:
    """What a set of packages holds."""
    size = sum(size for size, _ in entry.files().values())
    return f"{len(entry.parts)} packages, {mib(size)}, kernel {', '.join(depot.aptset.kernels(entry)) or 'none'}"


def equip(names: list[str] | None, build: bool, progress: Progress) -> None:
    """As root, with apt: install what this computer lacks for that, after saying so. Others are told by depot.fetch."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        prerequisites.install(depot.packages_needed(names, build=build), progress)


def split(names: list[str]) -> tuple[list[str], list[str]]:
    """Artifacts and models: a name with a tag is a model."""
    return [name for name in names if ":" not in name], [name for name in names if ":" in name]


def listing(args: argparse.Namespace, progress: Progress) -> Outcome:
    entries, rows, lines = depot.recorded(), [], []
    for pin in lock.load().values():
        entry = entries.get(pin.name)
        there = f"{entry.version}, {entry.origin}, {mib(entry.size)}" if entry else "not in the depot"
        if entry and (gone := [name for name in entry.files() if not (depot.root() / name).exists()]):
            there = f"recorded, but {', '.join(gone)} is gone (./holdfast depot fetch {pin.name})"
        if not pin.file:
            there = "only taken from the vendor"
        release = f"sha256:{pin.sha256}" if pin.sha256 else lock.UNVERIFIED
        rows.append(asdict(pin) | {"depot": asdict(entry) if entry else None})
        lines.append(f"{pin.name} {pin.version} ({pin.licence}): {there}; official release {release}")
    sets = {}
    for name in together.KNOWN:
        entry = entries.get(name)
        gone = [file for file in entry.files() if not (depot.root() / file).exists()] if entry else []
        again = f"./holdfast depot fetch {name}"
        there = f"{entry.version}, {contents(entry)}" if entry else f"not in the depot ({again})"
        if gone:
            there = f"recorded, but {', '.join(gone[:3])} is gone ({again})"
        sets[name] = asdict(entry) if entry else None
        lines.append(f"{name} (Debian's own packages): {there}")
    found, models = stock.there(), []
    for name, model in pins.lock().items():
        models.append({"name": name, "manifest": model.manifest or None, "depot": found.get(name)})
        there = f"manifest {found[name]}" if name in found else "not in the depot"
        lines.append(f"{name} ({model.licence}): {there}; pinned {model.manifest or lock.UNVERIFIED}")
    data = {"root": str(depot.root()), "artifacts": rows, "sets": sets, "models": models}
    return Outcome(data, [*lines, f"depot: {depot.root()}"])


def verify(args: argparse.Namespace, progress: Progress) -> Outcome:
    programs, models = split(args.names)
    found = depot.verify(programs or None) if programs or not models else {}
    found |= stock.verify(models or (() if programs else stock.there()))
    lines = [f"{name}: {wrong or 'as recorded'}" for name, wrong in found.items()]
    bad = sorted(name for name, wrong in found.items() if wrong)
    if bad:
        lines.append(f"Fix: ./holdfast depot fetch {' '.join(bad)}")
    return Outcome({"root": str(depot.root()), "damaged": {n: found[n] for n in bad}}, lines, 1 if bad else 0)


def update(args: argparse.Namespace, progress: Progress) -> Outcome:
    """An artifact's release, or a model's manifest, is pinned."""
    programs, names = split(args.names)
    artifacts = [depot.update(name, progress) for name in programs]
    known = pins.lock()
    models, lines = {}, [f"{p.name} {p.version}: {p.size} bytes, sha256:{p.sha256}" for p in artifacts]
    for name in names:
        pin, look = (pins.update, shapes.update) if name in known else (pins.look_up, shapes.look_up)
        models[name] = pin(name, args.registry, files.user_agent())
        shape = look(name, args.registry, files.user_agent())
        lines.append(f"{name}: manifest {models[name]}")
        what = shape.unknown or f"{len(shape.layers)} layers of {shape.architecture}, {mib(shape.weights)} on the cards"
        lines.append(f"{name}: {what}")
        if name not in known:
            lines.append(f"{name} is a model of your own; in hosts.yml, below the host:")
            lines += shapes.for_hosts(name, models[name], shape)
    data = {"updated": [asdict(p) for p in artifacts], "models": models}
    if artifacts or known.keys() & models:
        lines.append("written to locks/; compare with what the vendor publishes, then commit it")
    return Outcome(data, lines)


def lock_python(args: argparse.Namespace, progress: Progress) -> Outcome:
    made = locks.lock(args.names, upgrade=args.upgrade)
    return Outcome({"locks": [str(path) for path in made]}, [f"made {path}" for path in made])
