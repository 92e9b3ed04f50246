"""Power limits: set, and read back. `nvidia-smi -pl` on a card that has no such limit warns and ends with status 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation

from holdfast.components.nvidia import files
from holdfast.components.nvidia.facts import LATER, NvidiaState
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Stop, look, to_use
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import fail, report
from holdfast.operations.place import Paths, differing, writing
from holdfast.operations.remote import PythonFact
from holdfast.operations.unit import UnitState, steps, systemctl

_QUERY = "pci.bus_id,power.limit,power.min_limit,power.max_limit,power.default_limit"
# Every card back to its default.
_DEFAULTS = (
    f"nvidia-smi --query-gpu={_QUERY} --format=csv,noheader,nounits 2>/dev/null | tr -d , | "
    'while read -r at now least most default; do [ "$now" = "$default" ] || nvidia-smi -i "$at" -pl "${default%.*}"; done; true'
)


def read_limits(query: str) -> Any:
    """Runs on the host: PCI address (as sysfs writes it) -> [limit, least, most, default] in watts, None where a card has
    none; and what nvidia-smi said where it failed (its words come on stdout)."""
    import subprocess

    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"cards": {}, "problem": str(error)}
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).partition("\n")[0]
        return {"cards": {}, "problem": said or f"nvidia-smi ended with status {done.returncode}"}

    def watts(word: str) -> float | None:
        try:
            return float(word)
        except ValueError:
            return None

    cards = {}
    for line in done.stdout.splitlines():
        address, *values = [word.strip() for word in line.split(",")]
        # nvidia-smi writes eight digits of the domain, sysfs four.
        domain, _, rest = address.lower().partition(":")
        cards[f"{int(domain, 16):04x}:{rest}"] = [watts(value) for value in values]
    return {"cards": cards, "problem": ""}


class Limits(PythonFact):
    """The cards' power limits; see read_limits."""

    reader = staticmethod(read_limits)


@operation()
def capped(limits: Mapping[str, int], want: Want) -> Iterator[StringCommand | FunctionCommand]:
    """Each card of ``limits`` (PCI address -> watts) draws no more than that, now and after each boot. Where cards are not
    required (``want``) and no driver is in use, it is told and left."""
    machine = NvidiaState.recent(host)
    entries = files.power(limits)
    if machine is None:
        host.noop(LATER if limits else "no power limit is asked for")
        return
    changed = differing(entries, Paths.read(host, paths=[e.path for e in entries], contents=[]))
    if not limits:
        if not changed:
            host.noop("no power limit is asked for")
            return
        # Taken back: the cards' own defaults.
        yield StringCommand(f"systemctl --quiet disable {files.POWER}; systemctl stop {files.POWER}")
        yield writing(changed)
        yield StringCommand("systemctl daemon-reload")
        yield StringCommand(_DEFAULTS)
        return
    step = None if host.state.is_executing else to_install(machine, want, ()) or to_use(machine, want, ())
    if isinstance(step, Stop):
        host.noop("known once the driver is in use")
        return
    if step is not None:
        yield StringCommand("true")  # a plan in which the driver is yet to come, or to be loaded anew, which loses a cap
        return
    if (machine.module != machine.library or not machine.module) and not want.required:
        words = f"the cards' power is not capped: {look(machine, want).reason}"
        emit("note", host=host.name, message=f"nvidia: {words}")
        host.noop(words)
        return
    found = (Limits.read(host, query=_QUERY) if machine.module else None) or _silent("no driver is loaded")
    problem = unsettable(limits, found)
    if problem:
        yield fail(problem)
        return
    todo = steps(UnitState.read(host, unit=files.POWER), config=None, enabled=True, running=True)
    wrong = differing_limits(limits, found)
    if not (changed or todo or wrong):
        host.noop(f"power limits: {', '.join(f'{at} {watts} W' for at, watts in limits.items())}")
        return
    if changed:
        yield writing(changed)
    verbs = [verb for verb in todo if verb not in ("start", "restart", "daemon-reload")]
    yield systemctl(files.POWER, ["daemon-reload", *verbs, "restart"])
    yield FunctionCommand(_read_back, (dict(limits),), {})


def unsettable(limits: Mapping[str, int], found: Mapping[str, Any]) -> HoldfastError | None:
    """Why the limits cannot be set, if there is a reason; pure."""
    if found["problem"]:
        return HoldfastError(f"the power limits cannot be read: {found['problem']}", fix="on the machine: nvidia-smi")
    for at, watts in limits.items():
        _, least, most, _ = found["cards"].get(at) or [None] * 4
        if least is None or most is None:
            return HoldfastError(
                f"the card at {at} has no power limit to set",
                where="nvidia.power_limit_w",
                fix="take it out of nvidia.power_limit_w",
            )
        if not least <= watts <= most:
            return HoldfastError(
                f"{watts} W is no limit for the card at {at}", where="nvidia.power_limit_w", allowed=f"{least:g} to {most:g} W",
                fix="correct nvidia.power_limit_w",
            )  # fmt: skip
    return None


def differing_limits(limits: Mapping[str, int], found: Mapping[str, Any]) -> list[str]:
    """Addresses whose limit is another one now; pure."""
    return [at for at, watts in limits.items() if abs((_limit(found, at) or 0) - watts) >= 1]


def _limit(found: Mapping[str, Any], at: str) -> float | None:
    """The card's limit now, in watts; None where it has none, or did not answer."""
    limit: float | None = found["cards"][at][0] if at in found["cards"] else None
    return limit


def _silent(problem: str) -> dict[str, Any]:
    """As read_limits where no card answers."""
    return {"cards": {}, "problem": problem}


def _read_back(state: Any, host: Any, limits: dict[str, int]) -> bool:
    found = Limits.read(host, query=_QUERY) or _silent("no answer")
    wrong = differing_limits(limits, found)
    for at in wrong:
        report(host, HoldfastError(
            f"the card at {at} was told {limits[at]} W and says {_limit(found, at)} W", where=host.name,
            fix=f"on it: sudo nvidia-smi -i {at} -pl {limits[at]}; a card that ignores it has no place in nvidia.power_limit_w",
        ))  # fmt: skip
    return not wrong
