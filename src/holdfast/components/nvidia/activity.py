"""What computes on the machine right now and would be cut off by a reload or a reboot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from holdfast.components.nvidia.machine import Machine
from holdfast.operations.remote import PythonFact

# They have every card open and compute nothing that a reboot would lose.
SCREEN = {"Xorg", "Xwayland", "gnome-shell", "kwin_wayland", "kwin_x11", "plasmashell", "sddm-greeter", "gdm-x-session"}
# Asked for their slots (ollama), or they keep the card open and compute nothing.
_KNOWN = re.compile(r"ollama@|nvidia-|gdm|sddm|lightdm|display-manager|dcgm")


def read_activity(root: str, pause_s: float, others: list[int]) -> Any:
    """Runs on the host: in words, every generation, batch and measurement that runs. ``pause_s``: over how many seconds a server
    that does not say must have used the processor to count as busy; so must ``others``, processes of services that are not
    Holdfast's and have a card open.

    A runner (llama-server) is asked for its slots; an open connection alone says nothing, since clients keep idle ones.
    """
    import json
    import os
    import re
    import time
    import urllib.error
    import urllib.request

    def text(*parts: str) -> str:
        try:
            with open(os.path.join(root, "proc", *parts), "rb") as f:
                return f.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def ticks(pid: str) -> int:
        fields = text(pid, "stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0

    def answering(port: str) -> bool | None:
        """Whether a slot is at work; None when it does not say."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{port}/slots", timeout=3) as answer:
                slots = json.loads(answer.read())
            return any(slot.get("is_processing") for slot in slots)
        except urllib.error.HTTPError as error:
            # 503: it loads a model, because somebody asked for it.
            return True if error.code == 503 else None
        except (OSError, ValueError, AttributeError, TypeError):
            return None

    busy, unsure = [], []
    said: dict[str, bool | None] = {}
    for pid in sorted(filter(str.isdigit, os.listdir(os.path.join(root, "proc"))), key=int):
        words = [word for word in text(pid, "cmdline").split("\0") if word]
        programs = [os.path.basename(word) for word in words[:4]]
        unit = text(pid, "cgroup").strip().rpartition("/")[2]
        name = f"{unit.removesuffix('.service')} (pid {pid})" if unit.endswith(".service") else f"pid {pid}"
        if "reason-then-code" in programs or "reason_then_code" in programs:
            busy.append(f"a batch runs: {name}")
        elif text(pid, "comm").strip() == "holdfast-bench":
            busy.append(f"a measurement runs: {name}")
        elif int(pid) in others:
            unsure.append((pid, name, ticks(pid)))
        elif "llama-server" in programs or (programs[:1] == ["ollama"] and "runner" in words[1:2]):
            found = re.search(r"--port[= ](\d+)", " ".join(words))
            port = found[1] if found else ""
            # A relay's child listens on a socket of its own and has the relay's port in its words: one is asked for both.
            first = port not in said
            if first:
                said[port] = answering(port) if port else None
            if said[port] is None:
                unsure.append((pid, name, ticks(pid)))
            elif first and said[port]:
                busy.append(f"{name} is answering")
    if unsure:
        time.sleep(pause_s)
    # A twentieth of a core: one that waits for a request uses nothing.
    limit = os.sysconf("SC_CLK_TCK") * pause_s / 20
    busy += [f"{name} is computing" for pid, name, before in unsure if ticks(pid) - before > limit]
    return busy


class Activity(PythonFact):
    """What computes; see read_activity."""

    reader = staticmethod(read_activity)


def strangers(machine: Machine) -> list[int]:
    """Processes of services that Holdfast does not know, with a card open: nobody but the processor's use tells what they do."""
    return [holder.pid for holder in machine.holders if holder.unit and not _KNOWN.match(holder.unit)]


def people(machine: Machine) -> list[str]:
    """Processes of people, not of services, that have a card open; a screen's own are none."""
    return [
        f"{holder} has the cards open" for holder in machine.holders if not holder.unit and holder.name not in SCREEN
    ]


def words(activity: Sequence[str], machine: Machine) -> str:
    """All of it in one line; "" when nothing computes."""
    return "; ".join([*activity, *people(machine)][:4])
