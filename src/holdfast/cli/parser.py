"""argparse, with our kind of error: what was wrong, what is allowed, and a Fix line."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import Any, NoReturn

from holdfast.errors import HoldfastError

ABOUT = """\
Holdfast turns a Linux machine with NVIDIA GPUs into a private AI workstation, and keeps it that way.

  ./holdfast up                 build a throw-away workstation here, check it, say how to get in
  ./holdfast down               remove it; this computer is as it was, but for packages from apt
  ./holdfast init gpu-box       write the settings of a real machine into hosts.yml
  ./holdfast plan gpu-box       what would change there
  ./holdfast up gpu-box         make it so; again: 0 changes
"""
EXIT_CODES = "exit codes: 0 ok, 1 failed, 2 wrong usage or invalid settings, 3 changes pending (plan), 130 Ctrl-C"


class Parser(argparse.ArgumentParser):
    """Errors are HoldfastError with exit code 2; examples in the help keep their lines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        allowed = ""
        wrong = re.match(r"argument .*: invalid choice: '?(?P<given>[^' ]*)'? \(choose from (?P<known>.*)\)", message)
        fix = f"{self.prog} --help"
        if wrong:
            known = [word.strip("' ") for word in wrong["known"].split(",")]
            message, allowed = f"unknown word {wrong['given']!r}", ", ".join(known)
            near = difflib.get_close_matches(wrong["given"], known, n=1)
            fix = f"{self.prog} {near[0]}" if near else fix
        raise HoldfastError(message, allowed=allowed, fix=fix, code=2)


def common(parser: argparse.ArgumentParser) -> None:
    """What every verb takes."""
    # SUPPRESS: a parser within another must not take back what the outer one has read.
    told = "one JSON object on stdout, progress as lines on stderr"
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=told)


def add_host(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("host", nargs="?", metavar="HOST", help=meaning)
