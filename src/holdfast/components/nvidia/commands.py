"""The shell lines that take a step. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from holdfast import apt
from holdfast.components.nvidia.repairing import kept
from holdfast.components.nvidia.steps import Build, Image, Install, Load, Reload, Repair, Resume, Step

STOPPED = "/run/holdfast/nvidia-stopped"
# What is told of a failure: the last lines, the first of apt's own errors among them.
_SAID = '{ echo "$out" | grep -E "^E:|[Ee]rror" | head -n 3; echo "$out" | tail -n 8; } >&2'

# "iHR": cut off while it was unpacked; dpkg --configure passes over it and ends well, and apt unpacks it again by name alone.
_HALF = "half=$(dpkg-query -W -f '${db:Status-Abbrev}${binary:Package}\\n' | sed -n 's/^\\(.H.\\|..R\\)//p')"

# The modules by their internal names: Debian's modprobe knows them under others. Nothing is forced: with a user left, all
# stays as it is. $units has been stopped by then.
_EXCHANGE = """
users() { cat "/sys/module/$1/refcnt" 2>/dev/null || echo 0; }
above() { ls "/sys/module/$1/holders" 2>/dev/null | wc -l; }
free=yes
for m in nvidia_uvm nvidia_drm nvidia_modeset nvidia_peermem nvidia; do
  [ ! -d "/sys/module/$m" ] || [ "$(users $m)" = "$(above $m)" ] || { free=no; echo "$m is in use" >&2; }
done
if [ $free = yes ]; then
  for m in nvidia_uvm nvidia_drm nvidia_modeset nvidia_peermem nvidia; do
    [ ! -d "/sys/module/$m" ] || rmmod "$m" || free=no
  done
  modprobe nvidia-uvm || free=no
fi
""".strip()
# The device files, which are otherwise made at the first use, by a setuid helper.
_NODES = "! command -v nvidia-modprobe >/dev/null || nvidia-modprobe -c 0 -u || true"
_SERVERS = "'ollama@*.service'"

_START = (
    f"units=$(cat {STOPPED} 2>/dev/null); "
    # One that does not start is told by the operation that runs it, with its own last words.
    '[ -z "$units" ] || { systemctl reset-failed $units 2>/dev/null; systemctl start $units || true; }; '
    f"rm -f {STOPPED}"
)


def line(step: Step, wait_s: int = 600) -> str:
    """The command of ``step``; ``wait_s``: how long apt waits for its lock, in seconds."""
    if isinstance(step, Repair):
        return _repair(step, wait_s)
    if isinstance(step, Install):
        words = [*step.packages, *(f"{name}-" for name in step.remove)]
        return _told(
            apt.script("update", wait_s=wait_s), apt.script("--allow-downgrades", "install", *words, wait_s=wait_s)
        )
    if isinstance(step, Build):
        return _told(f"dkms autoinstall -k {shlex.quote(step.kernel)}", f"depmod {shlex.quote(step.kernel)}")
    if isinstance(step, Image):
        kernel = shlex.quote(step.kernel)
        # -u renews one that is there, -c makes one that is not.
        return _told(
            f"if ! command -v update-initramfs >/dev/null; then dracut --force /boot/initrd.img-{kernel} {kernel}; "
            f"elif [ -e /boot/initrd.img-{kernel} ]; then update-initramfs -u -k {kernel}; "
            f"else update-initramfs -c -k {kernel}; fi"
        )
    if isinstance(step, Load):
        return f"{_stop_units((), _SERVERS)}; modprobe nvidia-uvm && free=yes || free=no; {_NODES}; {_START}; [ $free = yes ]"
    if isinstance(step, Reload):
        return _reload(step.units)
    if isinstance(step, Resume):
        return _START
    raise TypeError(f"no command for {step}")


def _told(*commands: str) -> str:
    """One after the other; the first that fails ends it, with its last words."""
    return f"{apt.exports()}; " + "; ".join(
        f"out=$({{ {command}; }} 2>&1) || {{ {_SAID}; exit 1; }}" for command in commands
    )


def _repair(step: Repair, wait_s: int) -> str:
    keep = (
        f"cp {shlex.quote(step.failure.log)} {shlex.quote(kept(step.failure))} 2>/dev/null; "
        if step.failure and step.failure.log
        else ""
    )
    # What was unpacked before its dependencies dpkg cannot set up: apt fetches them; --no-remove: and takes nothing out for it.
    fetch = apt.script("--no-remove", "--fix-broken", "install", wait_s=wait_s)
    again = apt.script("--no-remove", "--reinstall", "install", wait_s=wait_s)
    missing = f"{apt.script('check', wait_s=wait_s)} >/dev/null 2>&1"
    configure = (
        f"dpkg {' '.join(apt.KEEP)} --configure -a; status=$?; {_HALF}; "
        # Where nothing is missing, its own scripts have failed: apt would only run them, and a build of minutes, once more.
        f'[ "$status$half" = 0 ] || {{ [ -n "$half" ] || ! {missing} || exit $status; '
        f'{fetch} && {{ [ -z "$half" ] || {again} $half; }}; }}'
    )
    return keep + _told(*([apt.script("purge", *step.purge, wait_s=wait_s)] if step.purge else []), configure)


def _stop_units(named: Sequence[str], patterns: str) -> str:
    """Stops ``named`` and what is active of ``patterns``. It stands in a file until it is started again: should this be cut
    off, the next apply starts it."""
    words = " ".join(map(shlex.quote, named))
    return (
        f"mkdir -p /run/holdfast; {{ cat {STOPPED} 2>/dev/null; echo {words}; systemctl list-units --plain --no-legend --full "
        f"--state=active,activating {patterns} | cut -d' ' -f1; }} | tr ' ' '\\n' | grep . | sort -u > {STOPPED}.new; "
        f'mv -f {STOPPED}.new {STOPPED}; units=$(cat {STOPPED}); [ -z "$units" ] || systemctl stop $units'
    )


def _reload(units: Sequence[str]) -> str:
    """Stop who holds the cards, exchange the modules, start again."""
    stopping = _stop_units(units, f"{_SERVERS} nvidia-persistenced.service nvidia-powerd.service")
    return f"{stopping}; {_EXCHANGE}\n{_NODES}; {_START}; [ $free = yes ]"
