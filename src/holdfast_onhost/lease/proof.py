"""Before each load: exactly the planned GPUs are usable, and their memory is really free.

A card can be lost and a driver be replaced while the server runs; llama-server would then load on the CPU without a
word and be slow.
"""

from __future__ import annotations

import os
import sys
import time

from holdfast_onhost import devices
from holdfast_onhost.lease import listing
from holdfast_onhost.lease.refusal import Refused
from holdfast_onhost.lease.settings import Settings

_POLL_S = 0.25


def prove(settings: Settings) -> None:
    """Raises Refused.  Without planned GPUs there is nothing to prove; without require_gpu it is only said."""
    if not settings.on_gpus:
        return
    try:
        _wait_for_memory(settings, _usable(settings))
    except Refused as why:
        if settings.require_gpu:
            raise
        print(f"holdfast: {why} (require_gpu is false: going on)", file=sys.stderr, flush=True)


def _usable(settings: Settings) -> list[listing.Device]:
    """The planned devices in their order, if llama-server sees these and no other."""
    planned = _planned(settings)
    restart = f"sudo systemctl restart ollama@{settings.instance}"
    found = devices.resolve(planned, settings.root, wait_s=0)
    for gpu, state in found.items():
        if not state.uuid:
            raise Refused(
                f"GPU {gpu}: {state.problem}; nvidia-smi says: {listing.complaint()}", f"{state.fix}; then {restart}"
            )
    uuids = tuple(found[gpu].uuid for gpu in planned)
    if settings.visible and uuids != settings.visible:
        started = ", ".join(settings.visible)
        raise Refused(f"the planned GPUs are {', '.join(uuids)}, but this server was started with {started}", restart)
    listed = listing.devices(settings.real)
    names = ", ".join(map(str, listed)) or "none"
    if len(listed) == len(planned) and all(device.name.startswith("CUDA") for device in listed):
        return listed
    plan = ", ".join(map(str, planned))
    if not listed and "GGML_BACKEND_PATH" not in os.environ:
        raise Refused(f"Ollama saw no GPU when it started, and would run on the CPU for good; planned: {plan}", restart)
    raise Refused(
        f"llama-server can use {names}; planned: {plan}; nvidia-smi says: {listing.complaint()}",
        f"after a driver update: reboot; a lost card: sudo dmesg | grep -i -e xid -e nvrm, then power off and on; then {restart}",
    )


def _planned(settings: Settings) -> list[devices.Gpu]:
    try:
        return devices.declared(settings.gpus)
    except ValueError as error:
        raise Refused(str(error), "./holdfast up HOST writes the instance's environment anew") from error


def _wait_for_memory(settings: Settings, seen: list[listing.Device]) -> None:
    """What was killed a moment ago may still be giving its memory back: wait a while, then say who has it."""
    end = time.monotonic() + settings.vram_wait_s
    planned = _planned(settings)
    while short := [
        f"{need} MiB on GPU {gpu}, where {device.free_mib} of {device.total_mib} MiB are free"
        for gpu, device, need in zip(planned, seen, settings.vram_mib, strict=False)
        if device.free_mib < need
    ]:
        if time.monotonic() >= end:
            told = ", ".join(short)
            raise Refused(
                f"the model needs {told}; on the cards: {listing.users() or 'no process that nvidia-smi names'}",
                "end what uses the card (nvidia-smi), or choose a smaller context: ./holdfast plan",
            )
        time.sleep(_POLL_S)
        seen = _usable(settings)
