"""Removing a lab, whole or half-made: everything that carries its name or its nonce, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import cgroups, footprint, network, processes, ssh, state, tree
from holdfast.lab.layout import Layout, labs_dir
from holdfast.paths import state_dir
from holdfast.progress import QUIET, Progress

LOCK_SECONDS = 900


@contextmanager
def lock(progress: Progress = QUIET) -> Iterator[None]:
    """Hold the lock of all labs of this user: one is made or removed at a time. The kernel frees it when we die."""
    labs_dir().mkdir(parents=True, exist_ok=True)
    folder = os.open(labs_dir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        end, said = time.monotonic() + LOCK_SECONDS, False
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise HoldfastError(
                        f"another lab has been starting or stopping for {LOCK_SECONDS} s",
                        where=str(labs_dir()),
                        fix=f"see who holds it: fuser {labs_dir()}",
                    ) from None
                if not said:
                    progress.note("waiting for another lab that is just starting or stopping")
                    said = True
                time.sleep(0.2)
        yield
    finally:
        os.close(folder)


def remove(layout: Layout) -> None:
    """Remove all of a lab: connections, machine, processes, namespaces, folders. Needs the lock; harmless twice.

    Raises HoldfastError when a process survives or something is mounted below the lab's folder.
    """
    ssh.close(layout)
    cgroups.remove(layout.cgroup)
    _end_processes(layout)
    network.remove(layout)
    tree.sweep()
    tree.refuse_mounts(layout.folder)
    if layout.folder.exists():
        # The nonce goes last: a removal that is itself cut off must still know whose processes these were.
        for entry in layout.folder.iterdir():
            if entry != layout.intent:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.rmtree(layout.folder)
    if not state.names():
        footprint.release()


def kept_logs(layout: Layout) -> Path:
    """Where the logs of the last start that failed are."""
    return state_dir() / "logs" / f"lab-{layout.name}"


def keep_logs(layout: Layout, error: BaseException) -> None:
    """Put the logs of a lab that is about to be removed where they stay, in place of those of an earlier failed start.

    A HoldfastError names them there from now on. Raises OSError when they cannot be moved.
    """
    kept = kept_logs(layout)
    if not layout.logs.is_dir():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(layout.logs, kept)
    kept.chmod(0o700)  # as private as the lab's own folder, out of which they come
    if isinstance(error, HoldfastError):
        for part in ("message", "where", "fix"):
            setattr(error, part, getattr(error, part).replace(str(layout.logs), str(kept)))
        error.where = error.where or f"logs: {kept}"


def _end_processes(layout: Layout, seconds: float = 10) -> None:
    nonce = state.nonce(layout.name)
    names = list(layout.namespaces.values())
    end = time.monotonic() + seconds
    while pids := (processes.of_nonce(nonce) if nonce else []) + processes.in_netns(names):
        if time.monotonic() > end:
            raise HoldfastError(
                f"processes of the lab {layout.name} do not end: {', '.join(map(str, pids))}",
                fix="they hang in the kernel: see `ps -o pid,stat,wchan,args`; reboot this computer if they stay",
            )
        processes.kill(pids)
        time.sleep(0.02)
