"""Running pyinfra: a subprocess whose events are shown while it works, and whose silences are not taken for success."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from holdfast.apply.result import Result, failure, read_result
from holdfast.apply.variables import APPLY, PARENT, SUDO_FD, Ask
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT
from holdfast.progress import QUIET, Progress

# Not `-m pyinfra`: that imports pyinfra, and with it paramiko, before gevent has patched the standard library, and then
# a connection through a ProxyCommand never gets further than its first read (paramiko/proxy.py: recv selects).
PYINFRA = (sys.executable, "-c", "from pyinfra_cli.main import main; main()")
# What pyinfra may need to disconnect: its lock holder gives running commands five seconds to end in order.
PATIENCE_S = 30


@dataclass
class Run:
    """One run of pyinfra: what it reported while it ran. Seconds are wall-clock, by component."""

    seconds: dict[str, float] = field(default_factory=dict)
    diffs: list[dict[str, Any]] = field(default_factory=list)
    errors: list[HoldfastError] = field(default_factory=list)
    # What a plan says would stop an apply, each once.
    stops: list[HoldfastError] = field(default_factory=list)
    failed: str = ""
    # Number of the operation that runs, of how many; and what was last waited for.
    at: tuple[int, int] = (0, 0)
    waiting: str = ""


def no_password(user: str, host: str, again: bool) -> str:
    return ""


def apply(
    host: str, *, log: Path, progress: Progress = QUIET, values: Mapping[str, Any] | None = None, ask: Ask = no_password,
    deploy: str = "deploy.py",
) -> Result:  # fmt: skip
    """Bring ``host`` into the state that its settings describe. Raises HoldfastError when anything of it failed.

    ``deploy``: the page of components, from the checkout's root.
    """
    return _pyinfra(host, ["-y"], log=log, progress=progress, values=values, ask=ask, deploy=deploy)


def plan(
    host: str, *, log: Path, progress: Progress = QUIET, values: Mapping[str, Any] | None = None, ask: Ask = no_password,
    deploy: str = "deploy.py",
) -> Result:  # fmt: skip
    """What apply would change; changes nothing. Contents of files that are no secrets come with it."""
    return _pyinfra(host, ["--dry"], log=log, progress=progress, values=values, ask=ask, deploy=deploy)


def environment(host: str, values: Mapping[str, Any] | None, events: int, password: int, *, diff: bool = False) -> dict[str, str]:
    """What the subprocess is told: descriptors, settings for this run, whose child it is, whether to tell files' contents
    (``diff``). Without ``values`` those settings that hold for this process already ($HOLDFAST_SET: --set of the command
    line)."""
    env = {
        **os.environ, "HOLDFAST_EVENTS": str(events), SUDO_FD: str(password), "HOLDFAST_DIFF": str(int(diff)),
        PARENT: str(os.getpid()), "PYINFRA_PROGRESS": "off",
    }  # fmt: skip
    # An apply's mark would make the holder of a local apply end its own operator.
    env.pop(APPLY, None)
    if values:
        env["HOLDFAST_SET"] = json.dumps({"host": host, "values": dict(values)})
    return env


def _pyinfra(
    host: str, flags: list[str], *, log: Path, progress: Progress, values: Mapping[str, Any] | None, ask: Ask, deploy: str
) -> Result:
    words = [*PYINFRA, "inventory.py", deploy, "--limit", host, *flags, "--json"]
    run = Run()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as err, tempfile.TemporaryFile() as out:
        err.write(f"$ pyinfra {' '.join(words[len(PYINFRA) :])}\n".encode())
        err.flush()
        begin = err.tell()
        status = attended(words, host, out, err, run=run, progress=progress, ask=ask, values=values, diff="--dry" in flags)
        out.seek(0)
        text = out.read().decode(errors="replace")
    said = log.read_bytes()[begin:].decode(errors="replace")
    if status != 0 or run.errors:
        raise failure(host, status, said, log, run.errors, run.failed)
    result = read_result(text, host, log, said)
    result.seconds.update(run.seconds)
    result.diffs.extend(run.diffs)
    result.stops.extend(run.stops)
    return result


def attended(
    words: Sequence[str], host: str, out: IO[bytes], err: IO[bytes], *, run: Run, ask: Ask, progress: Progress = QUIET,
    values: Mapping[str, Any] | None = None, diff: bool = False,
) -> int:  # fmt: skip
    """Run a program that reaches ``host`` through pyinfra to its end, its events shown and kept in ``run``; its exit status.

    What it must ask a person, this process asks: what is drawn here would hide its question. ``out`` and ``err`` are files: a
    pipe that nobody empties while a person types would stop it.
    """
    events_read, events_write = os.pipe()
    password_read, password_write = os.pipe()
    child = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=[events_write, password_read],
        env=environment(host, values, events_write, password_read, diff=diff),
        # A group of its own: Ctrl-C in the terminal comes to us alone, so that the connection still stands when
        # what runs on the host is to be ended.
        process_group=0,
    )  # fmt: skip
    os.close(events_write)
    os.close(password_read)
    try:
        with open(events_read, encoding="utf-8", errors="replace") as lines, open(password_write, "w") as answers:
            for event in parse_events(lines):
                handle(event, run, progress, ask, answers.write, answers.flush)
        return child.wait()
    except BaseException:
        end(child)
        raise


def end(child: subprocess.Popen[bytes]) -> None:
    """Stop pyinfra in order: it ends what runs on the host. A second Ctrl-C does not wait."""
    for number, patience in ((signal.SIGINT, PATIENCE_S), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
        try:
            child.wait(patience)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue


def parse_events(lines: Any) -> Iterator[dict[str, Any]]:
    """JSON objects with an ``event``, one a line; a line that is none (cut by a kill) is skipped."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def handle(
    event: dict[str, Any], run: Run, progress: Progress, ask: Ask, write: Callable[[str], Any], flush: Callable[[], Any]
) -> None:
    """Show one event and keep what the result needs of it."""
    kind, name = event["event"], str(event.get("name", ""))
    if kind == "operation":
        run.at = (int(event.get("n", 0)), int(event.get("of", 0)))
        progress.step(*run.at, name)
    elif kind == "waiting":
        # Said once as a line, so that it is read also where nothing is drawn; then in place of the operation's name.
        what = f"waiting for {event.get('what', '')}"
        if what != run.waiting:
            progress.note(what)
        run.waiting = what
        progress.step(*run.at, f"{what} ({float(event.get('seconds', 0)):.0f} s)")
    elif kind == "operation_end":
        component = name.split(" | ")[0]
        run.seconds[component] = run.seconds.get(component, 0.0) + float(event.get("seconds", 0.0))
        if event.get("changed"):
            progress.note(f"changed: {name}")
    elif kind == "operation_failed":
        run.failed = name
    elif kind == "error":
        run.errors.append(HoldfastError.of(event))
    elif kind == "stop":
        stop = HoldfastError.of(event)
        if stop.render() not in (known.render() for known in run.stops):
            run.stops.append(stop)
    elif kind == "diff":
        run.diffs.append(event)
    elif kind == "bytes":
        progress.bytes(int(event.get("done", 0)), event.get("total"), str(event.get("label", "")))
    elif kind == "note":
        progress.note(str(event.get("message", "")))
    elif kind == "sudo_password":
        write(ask(str(event.get("user", "")), str(event.get("host", "")), bool(event.get("again"))) + "\n")
        with contextlib.suppress(BrokenPipeError):
            flush()
