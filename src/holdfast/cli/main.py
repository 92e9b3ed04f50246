"""From words to a verb, and from whatever happens to an exit code and a line that helps."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from holdfast import __version__
from holdfast.cli.parser import ABOUT, EXIT_CODES, Parser, common
from holdfast.cli.telling import discard, disk, failed, printing, tell, typed, unexpected
from holdfast.errors import HoldfastError

VERBS = {
    "init": "write a machine's settings into hosts.yml",
    "plan": "what would change on a machine; exit 3 when something would",
    "up": "bring a machine into the described state (without HOST: a throw-away one on this computer)",
    "down": "remove the throw-away machine",
    "status": "one screen about a machine; exit 1 when something is wrong",
    "verify": "check a machine's promises: the second opinion",
    "bench": "how fast a machine's models are, and whether its cards allow more; exit 1 when they do",
    "depot": "the folder with everything a machine downloads",
    "test": "every test of Holdfast itself",
}


def build(verb: str | None) -> Parser:
    """The parser; only the module of ``verb`` is loaded (None: all of them)."""
    parser = Parser(prog="./holdfast", description=ABOUT, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    common(parser)
    parser.set_defaults(json=False)
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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by who started us (`>&-`): what would be said there is said to nobody.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        return _run(words)
    except HoldfastError as error:
        return failed(typed(error, words), as_json)
    except KeyboardInterrupt:
        fix = "run the same command again: it goes on where it stopped; ./holdfast down removes a throw-away machine"
        return failed(HoldfastError("interrupted", fix=fix, code=130), as_json)
    except BrokenPipeError:
        # Whoever read our output has left; nothing to say and nobody to say it to.
        discard(sys.stdout)
        return 1
    except OSError as error:
        return failed(disk(error) or unexpected(error, words), as_json)
    except Exception as error:
        return failed(unexpected(error, words), as_json)


def _run(words: list[str]) -> int:
    verb = next((word for word in words if not word.startswith("-")), None)
    parser = build(verb if verb in VERBS else None)
    try:
        with printing():
            args, unknown = parser.parse_known_args(words)
    except SystemExit as done:
        # --help and --version.
        with printing():
            sys.stdout.flush()
        return int(done.code or 0)
    if unknown:
        raise HoldfastError(f"unknown argument {unknown[0]!r:.80}", fix=f"./holdfast {verb} --help", code=2)
    from holdfast.cli.show import renderer

    module = importlib.import_module(f"holdfast.cli.{args.verb}")
    with renderer(as_json=args.json) as progress:
        outcome = module.run(args, progress)
    return tell(outcome, args)
