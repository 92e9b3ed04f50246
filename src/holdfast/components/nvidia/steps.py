"""From what the machine is to a driver in use: the next step, by state and history. Pure; `operations` takes it and looks again.

No step is taken twice in one apply unless it says so, so the way ends: in a driver that is ready, or in a Stop with a name.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.components.nvidia.checks import driven, finish, joined, lacking, refused, room, safe
from holdfast.components.nvidia.classify import HOST, Finding, State, addressed, classify
from holdfast.components.nvidia.machine import Failure, Machine
from holdfast.components.nvidia.packages import Choice, Want
from holdfast.components.nvidia.signing import enrol
from holdfast.errors import HoldfastError

SAME = "then the same command again"
INSIST = "./holdfast up HOST --reboot"


@dataclass(frozen=True)
class Repair:
    """Let dpkg finish what it began; first remove ``purge``, whose scripts fail (``failure``: the build that did)."""

    why: str
    purge: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class Install:
    """Install ``packages``; take out ``remove``, which they replace. ``refresh``: with fresh lists, as they are to be newer."""

    why: str
    choice: Choice
    packages: tuple[str, ...]
    remove: tuple[str, ...] = ()
    refresh: bool = False


@dataclass(frozen=True)
class Build:
    """Have DKMS build the modules for ``kernel``."""

    why: str
    kernel: str


@dataclass(frozen=True)
class Image:
    """Make the initrd of ``kernel`` anew."""

    why: str
    kernel: str


@dataclass(frozen=True)
class Load:
    """Load the modules; servers that run without them start anew, since they look for cards at their start only."""

    why: str


@dataclass(frozen=True)
class Reload:
    """Exchange the loaded modules; ``units`` hold the cards, stop for it and start again."""

    why: str
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resume:
    """Start the units that a reload, cut off, has left stopped."""

    why: str
    units: tuple[str, ...]


@dataclass(frozen=True)
class Reboot:
    """Boot the kernel that has the module."""

    why: str


@dataclass(frozen=True)
class Stop:
    """Nothing that may be done from here leads on. ``code`` 3: a person's reboot is all that is missing."""

    state: State
    why: str
    fix: str
    where: str = ""
    allowed: str = ""
    code: int = 1

    def error(self, name: str) -> HoldfastError:
        """As the person reads it; ``name`` is the machine's."""
        return HoldfastError(
            f"NVIDIA driver: {self.state}: {self.why}",
            where=self.where or name,
            allowed=self.allowed,
            fix=addressed(self.fix, name),
            code=self.code,
        )


Step = Repair | Install | Build | Image | Load | Reload | Resume | Reboot | Stop
Taken = tuple[Step, ...]


def took(taken: Taken, kind: type[object]) -> bool:
    return any(isinstance(step, kind) for step in taken)


def look(machine: Machine, want: Want) -> Finding:
    """The finding under these settings."""
    return classify(machine, want.gpus, want.minimum)


def stop(found: Finding, want: Want) -> Stop:
    """The Stop of a state that nothing more is known to be done about, or that the person keeps to herself."""
    if want.source != "none":
        return Stop(found.state, found.reason, found.fix)
    fix = f"bring the driver into use by hand (branch {want.minimum} or newer), {SAME}; or set nvidia.source: auto"
    return Stop(found.state, found.reason, fix, where="nvidia.source: none")


def without_cuda_13(machine: Machine, want: Want) -> Stop | None:
    """Where a card in use is too old for the CUDA library that the settings name: Ollama would compute on the CPU."""
    old = [gpu for gpu in driven(machine, want.gpus) if want.cuda_13 and not gpu.card.architecture.cuda_13]
    if not old:
        return None
    why = f"CUDA 13 does not know {joined(*(f'{gpu} ({gpu.card.architecture.name})' for gpu in old))}"
    fix = "set ollama.llm_library: cuda_v12, which does"
    return Stop(look(machine, want).state, why, fix, where="ollama.llm_library: cuda_v13", allowed="Turing and newer cards")


def ends(step: Stop, want: Want) -> bool:
    """Whether the apply ends at ``step``: where cards are required, or a person's reboot is due. Else it is told, and the
    machine goes on without."""
    return want.required or step.code == 3


def to_use(machine: Machine, want: Want, taken: Taken, busy: str = "") -> Step | None:
    """The next step that brings an installed driver into use; None when it is, or there is no card.

    ``busy``: what computes right now, in words ("" when nothing does), or a person's process that has a card open.
    """
    # Told by name to, it cuts off what computes.
    step = _to_use(machine, want, taken, "" if want.reboot == "always" else busy)
    # Last, or right before the end: a server that starts before the driver is there computes on the CPU for good.
    if machine.stopped and not took(taken, Resume) and (step is None or isinstance(step, Stop)):
        return Resume("an earlier reload was cut off", machine.stopped)
    return step


def _to_use(machine: Machine, want: Want, taken: Taken, busy: str) -> Step | None:
    found = look(machine, want)
    if found.state == "no_gpu" or found.works:
        return None
    if want.source == "none":
        return stop(found, want)
    if found.state == "needs_reload":
        return _reload(machine, want, taken, found, busy)
    if found.state == "needs_reboot":
        return _reboot(machine, want, found.reason, busy)
    return stop(found, want)


def _reload(machine: Machine, want: Want, taken: Taken, found: Finding, busy: str) -> Step:
    if machine.module == "" or (machine.module == machine.library and not machine.uvm):
        if not took(taken, Load):
            return _busy("needs_reload", found.reason, busy) if busy else Load(found.reason)
        if not took(taken, Reload):
            fix = "on the machine: sudo modprobe nvidia-uvm; sudo dmesg | grep -iE 'nvidia|NVRM' | tail"
            return Stop("needs_reload", "the module is there and the kernel does not load it", f"{fix}; {SAME}")
        return _reboot(machine, want, "the modules could not be exchanged while the machine runs", busy)
    if took(taken, Reload):
        return _reboot(machine, want, f"{found.reason}, and could not be exchanged while the machine runs", busy)
    if busy:
        return _busy("needs_reload", found.reason, busy)
    return Reload(found.reason, tuple(sorted({holder.unit for holder in machine.holders if holder.unit})))


def _busy(state: State, why: str, busy: str) -> Stop:
    return Stop(state, f"{why}; not now: {busy}", f"wait until it has ended, {SAME}; or {INSIST}")


def _reboot(machine: Machine, want: Want, why: str, busy: str) -> Step:
    if kept := hindrance(machine, want, why):
        return kept.stop
    return _busy("needs_reboot", why, busy) if busy else Reboot(why)


@dataclass(frozen=True)
class Hindrance:
    """What keeps an apply from a reboot: ``plan``, what becomes of the reboot, for a plan; ``stop``, how the apply ends."""

    plan: str
    stop: Stop


def hindrance(machine: Machine, want: Want, why: str) -> Hindrance | None:
    """What keeps this apply from the reboot that ``why`` asks for; None when nothing does, or only what computes just then."""
    by_hand = f"sudo reboot, {SAME}"
    if machine.container:
        words = f"{why}; a container cannot reboot for it"
        return Hindrance("reboot: needed and not done (a container has its host's kernel)", Stop("needs_reboot", words, HOST))
    if machine.following is None:
        words = f"{why}; but no kernel is in /boot, so that nothing tells what would boot"
        fix = f"mount /boot if it is a disk of its own; else {by_hand}"
        return Hindrance("reboot: needed and not done (no kernel is in /boot)", Stop("needs_reboot", words, fix, code=3))
    if not safe(machine):
        lacks, key = lacking(machine), refused(machine)
        words = f"{why}; but a reboot would not help: {lacks or key or 'dpkg is not done'}"
        fix = enrol(machine) if key and not lacks else joined(room(machine), finish(machine), SAME)
        return Hindrance("reboot: needed and not done (it would not help)", Stop("next_kernel_broken", words, fix))
    if machine.boot.other:
        # Also where a reboot is insisted on: there it would never come back from.
        words = f"{why}; but {machine.boot.other}, and that is no kernel of this machine"
        plan = f"reboot: needed and not done ({machine.boot.other})"
        return Hindrance(plan, Stop("needs_reboot", words, f"{machine.boot.fix}, {SAME}", code=3))
    if want.here:
        words = f"{why}; this computer cannot reboot and go on"
        plan = f"reboot: by you (this computer cannot reboot and go on: exit 3, {SAME})"
        return Hindrance(plan, Stop("needs_reboot", words, f"reboot, {SAME}", code=3))
    if want.reboot == "never":
        stopped = Stop("needs_reboot", why, f"{by_hand}; or {INSIST}", where="nvidia.reboot: never", code=3)
        return Hindrance("reboot: needed and not done (nvidia.reboot: never)", stopped)
    if machine.passphrases and want.reboot != "always":
        words = f"{why}; but the disk {', '.join(machine.passphrases)} asks for a passphrase at boot"
        fix = f"reboot it where you can type the passphrase, {SAME}; or {INSIST}"
        plan = "reboot: needed and not done (a disk asks for a passphrase at boot)"
        return Hindrance(plan, Stop("needs_reboot", words, fix, code=3))
    return None
