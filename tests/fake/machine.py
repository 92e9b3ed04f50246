"""A simulated machine behind pyinfra's @fake connector: it understands what Holdfast sends, keeps a state, and can be cut off.

Facts and writes are Python functions sent by stdin (holdfast.operations.remote); the machine answers by the function's
name. Everything else is a shell line. What nobody declared is an error, never a silent success.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pyinfra.connectors.util import CommandOutput, OutputLine
from tests.fake.driver import Driver


class CutOff(OSError):
    """The connection is lost, or the power, before this step."""


class Failed(Exception):
    """The command ends with a status other than 0; the text is its stderr."""


class Undeclared(AssertionError):
    """The machine was sent something that it does not know."""


@dataclass(frozen=True)
class Inode:
    """What lies at a path. Immutable, so that a copy of the machine is a copy of its tables."""

    kind: str
    mode: str = "755"
    user: str = "root"
    group: str = "root"
    data: bytes = b""
    target: str = ""


@dataclass(frozen=True)
class Account:
    home: str
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """What a unit's main process was started with: the unit's text, its environment, and which program it was."""

    text: str
    env: tuple[tuple[str, str], ...]
    program: str

    def lasting(self) -> Process:
        """Without the first administrator's password, which is meant to be gone after the first start."""
        return replace(self, env=tuple(pair for pair in self.env if not pair[0].startswith("WEBUI_ADMIN_")))


@dataclass(frozen=True)
class Unit:
    enabled: bool = False
    state: str = "inactive"
    process: Process | None = None


@dataclass
class Tailnet:
    """The node's own memory, and what the control server thinks of keys."""

    member: bool = False
    up: bool = False
    control: str = ""
    auto_update: bool | None = None
    preferences: dict[str, Any] = field(default_factory=dict)
    serve: dict[str, Any] = field(default_factory=dict)
    used: tuple[str, ...] = ()


# Function name -> answer(machine, **arguments); the components' files fill both (tests/fake/conftest.py imports them).
FUNCTIONS: dict[str, Callable[..., Any]] = {}
SHELL: list[tuple[re.Pattern[str], Callable[..., Any]]] = []


def runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declares what the machine does when ``function`` (of holdfast, run on the host) is sent to it."""

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[function.__name__] = handler
        return handler

    return declare


def hears(pattern: str, *, first: bool = False) -> Callable[..., Any]:
    """Declares a shell line: handler(machine, match, stdin) -> stdout or None. ``first``: before more general ones."""

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        SHELL.insert(0 if first else len(SHELL), (re.compile(pattern, re.S), handler))
        return handler

    return declare


_CALL = re.compile(r"^print\(json\.dumps\((\w+)\(\*\*json\.loads\((.*)\)\)\)\)$", re.M)
_PYTHON = {("debian", "bookworm"): "3.11", ("debian", "trixie"): "3.13", ("ubuntu", "jammy"): "3.10"}


class Machine:
    """One simulated machine; without the package python3 it is bare, as before base has run."""

    def __init__(self, distribution: str = "debian", codename: str = "bookworm", *, python: bool = True) -> None:
        self.release = {"ID": distribution, "VERSION_CODENAME": codename}
        self.python = _PYTHON.get((distribution, codename), "3.12")
        self.packages: dict[str, str] = {"python3": self.python} if python else {}
        self.disk: dict[str, Inode] = {}
        self.accounts: dict[str, Account] = {"root": Account("/root", "/bin/bash"), "ada": Account("/home/ada", "/bin/bash")}
        self.groups = ["root", "video", "render", "ada"]
        self.units: dict[str, Unit] = {}
        self.tailnet = Tailnet()
        self.cards: dict[str, str] = {}
        """PCI address -> the driver that holds the card ("" for none)."""
        self.module = self.library = ""
        """Versions of the loaded NVIDIA module and of its libraries."""
        self.driver = Driver()
        self.offers: dict[str, str] = {}
        """URL -> SHA-256 of what a download from there gives."""
        self.keys: tuple[str, ...] = ()
        """Join keys that the control server takes, each once."""
        # From here on: bookkeeping, no part of the picture.
        self.clock = 0
        self.stamps: dict[str, int] = {}
        self.since: dict[str, int] = {}
        """When a path was written, and when a unit was started: ticks of the clock."""
        self.loaded: dict[str, Any] = {}
        self.starts: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()
        self.heard: list[tuple[str, str]] = []
        self.log: list[tuple[str, str]] = []
        """Every changing step: (operation, what)."""
        self.operation = ""
        self.unknown: list[str] = []
        self.cut_at: int | None = None
        self.watch: Callable[[Machine], None] | None = None

    # -- what the connector calls ---------------------------------------------------------------------------------

    def run(self, command: str, stdin: str | None) -> tuple[bool, CommandOutput]:
        """Answer one command; ``stdin`` is what it is given. After a cut nothing gets through any more."""
        if self.gone:
            raise CutOff("the connection is gone")
        self.heard.append((command, stdin or ""))
        try:
            return True, output("stdout", self._answer(command, stdin or ""))
        except Failed as error:
            return False, output("stderr", str(error))
        except Undeclared as error:
            # pyinfra swallows exceptions of functions; the fixture looks here.
            self.unknown.append(str(error))
            raise

    def _answer(self, command: str, stdin: str) -> str:
        call = _CALL.search(stdin)
        if call and "python3 -I -S -" in command:
            if "python3" not in self.packages:
                if command.startswith("command -v python3"):
                    return "null"
                raise Failed("sh: 1: python3: not found")
            name, arguments = call[1], json.loads(json.loads(call[2]))
            if name not in FUNCTIONS:
                raise Undeclared(f"the simulated machine has no answer for {name}({', '.join(arguments)})")
            answer = FUNCTIONS[name](self, **arguments)
            return "" if ">/dev/null" in command.replace(">/dev/null 2>&1", "") else json.dumps(answer)
        for pattern, handler in SHELL:
            if found := pattern.search(command):
                return handler(self, found, stdin) or ""
        raise Undeclared(f"the simulated machine does not know: {command[:300]} (stdin {len(stdin)} bytes)")

    # -- changes --------------------------------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        return len(self.log)

    gone = False

    def change(self, what: str) -> None:
        """Called by every handler before each step that changes something; a cut happens before the step."""
        if self.watch is not None:
            self.watch(self)
        if self.cut_at is not None and self.changes >= self.cut_at:
            self.gone = True
            raise CutOff(what)
        self.log.append((self.operation, what))

    def put(self, path: str, node: Inode) -> None:
        """``node`` at ``path``; parents are made as mkdir -p makes them."""
        for owner in (node.user, node.group):
            if owner not in self.accounts and owner not in self.groups:
                raise Failed(f"LookupError: no such user or group: {owner!r}")
        parent = path.rpartition("/")[0]
        if parent and parent not in self.disk:
            self.put(parent, Inode("directory"))
        before = self.disk.get(path)
        self.disk[path] = node
        self.clock += 1
        # A change of mode or owner alone leaves the time of the last write as it is.
        if before is None or (before.kind, before.data, before.target) != (node.kind, node.data, node.target):
            self.stamps[path] = self.clock

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.put(path, Inode("file", mode, data=text.encode()))

    def remove(self, path: str) -> None:
        """rm -rf."""
        for name in [n for n in self.disk if n == path or n.startswith(path + "/")]:
            del self.disk[name]

    def text(self, path: str) -> str | None:
        """Content of a file, through links in the folders above it; None where there is none."""
        node = self.disk.get(self.resolve(path))
        return node.data.decode("utf-8", "replace") if node and node.kind == "file" else None

    def resolve(self, path: str) -> str:
        """``path`` with one link followed in each folder on the way."""
        out = ""
        for part in path.strip("/").split("/"):
            node = self.disk.get(f"{out}/{part}")
            linked = node is not None and node.kind == "link"
            out = (node.target if node.target.startswith("/") else f"{out}/{node.target}") if linked else f"{out}/{part}"
        return out

    # -- looking --------------------------------------------------------------------------------------------------

    def picture(self) -> dict[str, Any]:
        """Everything that two machines in the same state have in common; running processes included."""
        node = self.tailnet
        units = {name: replace(u, process=u.process and u.process.lasting()) for name, u in self.units.items()}
        edited = [u for u, (files, _) in self.loaded.items() if any(self.stamps.get(path) != stamp for path, stamp in files)]
        return {
            "to be reloaded": edited, "packages": dict(self.packages), "disk": dict(self.disk), "accounts": dict(self.accounts),
            "units": units, "groups": sorted(self.groups), "cards": [dict(self.cards), self.module, self.library],
            "kernels": [self.driver.kernel, dict(self.driver.kernels), dict(self.driver.states), dict(self.driver.watts)],
            "tailnet": [node.member, node.up, node.control, node.auto_update, dict(node.preferences), dict(node.serve)],
        }  # fmt: skip

    def copy(self) -> Machine:
        """The machine as it is now, on its own from here on, reachable, and nobody watching."""
        new = copy.copy(self)
        for name in ("packages", "disk", "accounts", "units", "offers", "loaded", "cards", "release", "stamps", "since"):
            setattr(new, name, dict(getattr(self, name)))
        for name in ("starts", "made", "slow"):
            setattr(new, name, Counter(getattr(self, name)))
        for name in ("groups", "heard", "log", "unknown"):
            setattr(new, name, list(getattr(self, name)))
        new.tailnet, new.driver = copy.deepcopy(self.tailnet), copy.deepcopy(self.driver)
        new.watch, new.cut_at, new.gone = None, None, False
        return new


def output(stream: str, text: str) -> CommandOutput:
    return CommandOutput([OutputLine(stream, line) for line in text.splitlines()])


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What two pictures do not have in common, in words; for a test's message."""
    out = []
    for part in one:
        if one[part] == other[part]:
            continue
        if not isinstance(one[part], dict):
            out.append(f"{part}: {one[part]} / {other[part]}")
            continue
        for key in sorted({*one[part], *other[part]}):
            if one[part].get(key) != other[part].get(key):
                out.append(f"{part} {key}: {str(one[part].get(key))[:300]} / {str(other[part].get(key))[:300]}")
    return out
