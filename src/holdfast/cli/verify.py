"""The verb `verify`: tests/verify against one machine, as a subprocess."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from holdfast.apply.run import parse_events
from holdfast.cli import boundaries, hosts
from holdfast.cli.outcome import Outcome
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT, state_dir
from holdfast.settings.workstation import Workstation

ABOUT = """\
Checks on the machine itself what Holdfast promises: what listens where, who may read what, that the models answer and
reach nothing, that the tailnet publishes one page and no more. It has readers of its own, none of those that
set the machine up; only the settings, and the least speed they ask for, come from the one loader. It changes nothing.
Exit 1 when a promise is broken.

  ./holdfast verify gpu-box
  ./holdfast verify                 the throw-away machine, while it runs
  ./holdfast verify gpu-box --json  {"passed": …, "failed": …, "skipped": [{"name", "reason"}], "failures": […]}
"""


@dataclass
class Checks:
    """What the checks came to; each of ``skipped`` and ``failures`` has name and reason."""

    passed: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.failures)

    def data(self) -> dict[str, Any]:
        return {"passed": self.passed, "failed": self.failed, "skipped": self.skipped, "failures": self.failures}

    def lines(self) -> list[str]:
        out = [f"verify:     {self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped"]
        out += [f"  skipped: {s['name']}: {s['reason']}" for s in self.skipped]
        fixes: dict[str, None] = {}
        unfixed = False
        # What several checks fail for is said once, and its Fix at the end.
        for reason, names in _by_reason(self.failures).items():
            said = [line for line in reason.splitlines() if not line.startswith("Fix: ")]
            own = [line.removeprefix("Fix: ") for line in reason.splitlines() if line.startswith("Fix: ")]
            fixes.update(dict.fromkeys(own))
            unfixed = unfixed or not own
            out += [f"  FAILED: {name}" for name in names]
            out.append("    " + "\n    ".join(said[:12]))
        if self.failures:
            again = f"{'then ' if fixes else ''}run ./holdfast up for this machine again"
            fault = "; what stays red is a fault: docs/troubleshooting.md"
            out.append(f"Fix: {'; '.join([*fixes, again])}{fault if unfixed else ''}")
        return out


def _by_reason(failures: list[dict[str, str]]) -> dict[str, list[str]]:
    """Reason -> the names of the checks that failed for it, in their order."""
    out: dict[str, list[str]] = {}
    for failure in failures:
        out.setdefault(failure["reason"], []).append(failure["name"])
    return out


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("host", nargs="?", metavar="HOST", help="a host of hosts.yml, or @local (default: the throw-away one)")
    parser.add_argument("--deep", action="store_true", help="hash the large model files, too (minutes)")
    parser.add_argument("--boundaries", action="store_true", help="only print what is promised and which check holds it")


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    if args.boundaries:
        return Outcome({"boundaries": boundaries.promises()}, [boundaries.table().rstrip()])
    ws = hosts.settings(hosts.chosen(args.host))
    with progress.phase("verify"):
        checks = check(ws, progress, expect=expected(ws.name), deep=args.deep)
    return Outcome({"host": ws.name, **checks.data()}, list(checks.lines()), 1 if checks.failed else 0)


def expected(name: str) -> Mapping[str, str]:
    """What each role's model is known to say, where its models are a lab's."""
    from holdfast.lab import state

    # Not by name: a host may have one that no lab can have.
    found = next((lab for lab in state.running() if lab.name == name), None)
    return found.models if found else {}


def check(
    ws: Workstation, progress: Shown, *, expect: Mapping[str, str], deep: bool = False, password: str = ""
) -> Checks:
    """Run tests/verify against one machine. Raises HoldfastError when they could not be run at all."""
    from holdfast.cli.askpass import answering

    log = state_dir() / "logs" / f"verify-{ws.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with answering(ws, progress, password) as (needs_sudo, env), log.open("wb") as out:
        read, write = os.pipe()
        words = [
            sys.executable, "-m", "pytest", "tests/verify", "-q", "-p", "no:cacheprovider", "-p", "holdfast.cli.verify_report",
            *where(ws, needs_sudo), f"--holdfast-host={ws.name}", *(f"--expect={r}={s}" for r, s in expect.items()),
            *(["--deep"] if deep else []),
        ]  # fmt: skip
        child = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=[write],
            env={**os.environ, **env, "HOLDFAST_VERIFY": str(write)},
        )  # fmt: skip
        os.close(write)
        try:
            with open(read, encoding="utf-8") as lines:
                checks = collect(lines, progress)
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if status not in (0, 1) or not checks.passed + checks.failed:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-8:]
        raise HoldfastError(
            f"the checks of {ws.name} could not be run:\n  " + "\n  ".join(said), where=f"log: {log}",
            fix=f"can you log in and sudo? {ws.login}",
        )  # fmt: skip
    return checks


def where(ws: Workstation, needs_sudo: bool) -> list[str]:
    """testinfra's words for this machine."""
    sudo = "?sudo=true" if needs_sudo else ""
    if ws.local:
        return [f"--hosts=local://{sudo}"]
    ssh = ws.ssh
    user = f"{quote(ssh.user)}@" if ssh.user else ""
    port = f":{ssh.port}" if ssh.port else ""
    words = [f"--hosts=ssh://{user}{ssh.hostname or ws.name}{port}{sudo}"]
    words += [f"--ssh-config={ssh.config_file}"] if ssh.config_file else []
    words += [f"--ssh-identity-file={ssh.key_file}"] if ssh.key_file else []
    return words


def collect(lines: Any, progress: Shown) -> Checks:
    """The plugin's events; a check that fails twice (in itself and when it cleans up) counts once."""
    checks, of, n, seen = Checks(), 0, 0, set()
    for event in parse_events(lines):
        name = str(event.get("name", ""))
        if event["event"] == "collected":
            of = int(event["of"])
        elif event["event"] == "begin":
            n += 1
            progress.step(n, of, name)
        elif event["event"] == "result":
            entry = {"name": name, "reason": str(event.get("reason", ""))}
            if event["outcome"] == "passed":
                checks.passed += 1
            elif event["outcome"] == "skipped":
                checks.skipped.append(entry)
            elif name not in seen:
                seen.add(name)
                checks.failures.append(entry)
    return checks
