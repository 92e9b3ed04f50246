"""From words to a verb, and from whatever happens to an exit code and a line that helps."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from holdfast import __version__
from holdfast.cli.parser import ABOUT, EXIT_CODES, Parser, common
from holdfast.errors import HoldfastError
from holdfast.paths import state_dir

VERBS = {
    "init": "write a machine's settings into hosts.yml",
    "plan": "what would change on a machine; exit 3 when something would",
    "up": "bring a machine into the described state (without HOST: a throw-away one on this computer)",
    "down": "remove the throw-away machine",
    "status": "one screen about a machine; exit 1 when something is wrong",
    "verify": "check a machine's promises: the second opinion",
    "depot": "the folder with everything a machine downloads",
    "test": "every test of Holdfast itself",
}


def build(verb: str | None) -> Parser:
    """The parser; only the module of ``verb`` is loaded (None: all of them)."""
    parser = Parser(prog="./holdfast", description=ABOUT, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="|".join(VERBS), required=True, parser_class=Parser)
    for name, summary in VERBS.items():
        one = verbs.add_parser(name, help=summary)
        if verb in (None, name):
            module = importlib.import_module(f"holdfast.cli.{name}")
            module.arguments(one)
            one.epilog = EXIT_CODES
            common(one)
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Do what the words say. Never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    # A shell starts background jobs with SIGINT ignored, and Python then leaves it so; `kill -INT` must work there too.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _run(words)
    except HoldfastError as error:
        return failed(error, as_json)
    except KeyboardInterrupt:
        fix = "run the same command again: it goes on where it stopped; ./holdfast down removes a throw-away machine"
        return failed(HoldfastError("interrupted", fix=fix, code=130), as_json)
    except BrokenPipeError:
        # Whoever read our output has left; nothing to say and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return failed(unexpected(error, words), as_json)


def _run(words: list[str]) -> int:
    verb = next((word for word in words if not word.startswith("-")), None)
    try:
        args, unknown = build(verb if verb in VERBS else None).parse_known_args(words)
    except SystemExit as done:
        # --help and --version.
        return int(done.code or 0)
    if unknown:
        raise HoldfastError(f"unknown argument {unknown[0]!r:.80}", fix=f"./holdfast {verb} --help", code=2)
    from holdfast.cli.show import renderer

    module = importlib.import_module(f"holdfast.cli.{args.verb}")
    with renderer(as_json=args.json) as progress:
        outcome = module.run(args, progress)
    return tell(outcome, args)


def tell(outcome: Any, args: argparse.Namespace) -> int:
    """Print what a verb found; its exit code."""
    if args.json:
        sys.stdout.write(json.dumps(outcome.data) + "\n")
    else:
        from rich.console import Console

        # Soft wrapping: a path or an address is to be copied whole.
        console = Console(highlight=False, soft_wrap=True)
        for line in outcome.lines:
            console.print(line, markup=False) if isinstance(line, str) else console.print(line)
    sys.stdout.flush()
    return int(outcome.code)


def failed(error: HoldfastError, as_json: bool) -> int:
    """Say what went wrong: to a person on stderr, with --json to a program on stdout as well."""
    sys.stderr.write(error.render() + "\n")
    if as_json:
        facts = {"message": error.message, "where": error.where, "allowed": error.allowed, "fix": error.fix}
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(json.dumps({"error": facts}) + "\n")
            sys.stdout.flush()
    return error.code


def unexpected(error: Exception, words: list[str]) -> HoldfastError:
    """A fault of ours (or a full disk): one line here, the traceback in a file."""
    text = "".join(traceback.format_exception(error))
    log = state_dir() / "logs" / "fault.log"
    where = f"log: {log}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"holdfast {__version__} {' '.join(words[:1])}\n{text}")
    except OSError as full:
        where = f"(and the log {log} cannot be written: {full.strerror})"
    last = " ".join(str(error).split())[:300]
    fix = f"read {log}; if it is a fault of Holdfast, please report it with that file"
    return HoldfastError(f"unexpected: {type(error).__name__}: {last}", where=where, fix=fix)
