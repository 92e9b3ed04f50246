"""One lab from nothing to a workstation one can log in to, and back to nothing."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast import depot
from holdfast.errors import HoldfastError
from holdfast.lab import footprint, guest, machine, models, placement, prerequisites, servers, site, ssh, state, tree
from holdfast.lab import layout as at
from holdfast.lab.cleanup import keep_logs, lock, remove
from holdfast.lab.control import Control
from holdfast.lab.layout import Layout
from holdfast.lab.models import roles
from holdfast.lab.network import Network
from holdfast.lab.processes import Process, alive, environment
from holdfast.lab.state import LabState
from holdfast.lab.tailnet import MEMBERS, Member, unpack
from holdfast.lab.vm.kept import require_no_disk
from holdfast.lab.vm.layout import patience
from holdfast.progress import QUIET, Progress


class Lab:
    """The lab called ``name``: a Debian ``release`` as the workstation, and everything around it.

    ``binds``: path in the workstation -> what of this computer is shown there, read-only (a device, a bus). ``base``: a tree
    to start from in place of the release's own. ``packages``: what the release's own tree has besides.
    """

    def __init__(
        self,
        name: str = "lab",
        release: str = "bookworm",
        *,
        binds: Mapping[str, Path] | None = None,
        base: Path | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        self.layout, self.name, self.release = Layout(name), name, release
        self.binds, self.base, self.packages = dict(binds or {}), base, tuple(packages)

    def up(self, progress: Progress = QUIET, models: Mapping[str, Path] | None = None) -> LabState:
        """Make the lab, or keep the one that lives (what has died in it is started again).

        ``models`` maps a role to a GGUF that is served in place of the tiny one. What a killed start has left is removed
        first, the disk of a virtual machine never; a start that fails removes what it made, its logs excepted. Raises
        HoldfastError.
        """
        self.prepare(progress)
        with progress.phase("depot"):
            depot.fetch(progress=progress)
        with lock(progress):
            found = state.load(self.name)
            if found is not None:
                if found.release != self.release:
                    raise HoldfastError(
                        f"the lab {self.name} runs Debian {found.release}, not {self.release}",
                        fix="./holdfast down first",
                    )
                return _Making(self.layout, found.nonce, self.release, progress).mend(found, models)
            require_no_disk(self.layout)
            remove(self.layout)
            try:
                making = _Making(self.layout, secrets.token_hex(8), self.release, progress)
                return making.everything(models, self.binds, self.base, self.packages)
            except BaseException as error:
                with suppress(OSError):
                    keep_logs(self.layout, error)
                remove(self.layout)
                raise

    def prepare(self, progress: Progress = QUIET) -> None:
        """What this computer must have for it."""
        prerequisites.ensure(progress)

    def down(self, progress: Progress = QUIET) -> None:
        """Remove everything of this lab, whole or half-made, and nothing else. Harmless when there is nothing."""
        with lock(progress), progress.phase("lab: remove"):
            remove(self.layout)

    def reboot(self) -> str:
        """Reboot the workstation as its user would; returns the new boot id once one can log in again.

        Raises HoldfastError when it does not come back, or when there is no lab.
        """
        process = self.state().process("machine")
        assert process is not None
        before = machine.wait(self.layout, process)
        ssh.hang_up(self.layout)
        self.ssh(["sudo", "systemctl", "reboot"], fresh=True)
        return machine.wait(self.layout, process, not_boot_id=before)

    def state(self) -> LabState:
        """The living lab's state. Raises HoldfastError when it does not run."""
        found = state.load(self.name)
        if found is None:
            raise HoldfastError(f"the lab {self.name} does not run", fix="./holdfast up")
        return found

    def joined(self) -> dict[str, str]:
        """Ask the control server for the workstation's addresses, note them in the state, and return its tailnet part.

        ipv4 and ipv6 stay empty until the workstation has joined.
        """
        found = self.state()
        node = _Making(self.layout, found.nonce, self.release, QUIET).control.addresses(self.name)
        found.tailnet |= node
        state.save(found)
        return found.tailnet

    def site(self) -> dict[str, Any]:
        """The workstation's block of hosts.yml. Raises HoldfastError when the lab does not run."""
        return self.state().site

    def ssh(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the workstation as the login user (ssh.ssh has the options)."""
        return ssh.ssh(self.layout, command, **options)

    def run_in(
        self, node: str, argv: Sequence[str | Path], *, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside a node's network (neighbour, phone, laptop, control, router); the status is not checked."""
        words = ["ip", "netns", "exec", self.layout.netns(node), *(str(a) for a in argv)]
        return subprocess.run(
            words, input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True, text=True,
            errors="replace", timeout=timeout, check=False,
        )  # fmt: skip

    def member(self, node: str) -> Member:
        """The phone or the laptop."""
        made = _Making(self.layout, self.state().nonce, self.release, QUIET)
        return made.member(node)


class _Making:
    """The steps of making one lab, in order."""

    def __init__(self, layout: Layout, nonce: str, release: str, progress: Progress) -> None:
        self.layout, self.nonce, self.release, self.progress = layout, nonce, release, progress
        self.env = environment(nonce)
        self.control = Control(layout, nonce, depot.path("headscale"))
        self.programs = layout.folder / "tailscale"
        self.auth_key = layout.auth_key

    def member(self, node: str) -> Member:
        return Member(self.layout, self.nonce, node, self.programs, self.control.ca)

    def everything(
        self,
        overrides: Mapping[str, Path] | None,
        binds: Mapping[str, Path],
        base: Path | None,
        packages: Sequence[str],
    ) -> LabState:
        layout, progress = self.layout, self.progress
        footprint.claim()
        placement.make(layout.folder)
        state.write(layout.intent, {"nonce": self.nonce, "release": self.release})
        network = Network(layout, self.env)
        processes: list[Process] = []
        with progress.phase("lab: network"):
            network.make()
            processes.append(network.uplink(self.nonce))
        with progress.phase("lab: tree"):
            log = layout.logs / "tree.log"
            start = base or tree.base(self.release, env=self.env, log=log, progress=progress, more=packages)
            ssh.make_keys(layout, self.env)
            guest.prepare(layout, start, env=self.env, log=layout.logs / "guest.log")
        with progress.phase("lab: boot"):
            workstation = machine.boot(layout, self.nonce, binds)  # it boots while the others start; awaited last
            processes.append(workstation)
        with progress.phase("lab: servers"):
            pins = models.make(layout.models, overrides)
            processes.append(servers.depot(layout, self.nonce, depot.root()))
            processes.append(servers.registry(layout, self.nonce, layout.models))
        with progress.phase("lab: tailnet"):
            self.control.prepare()
            processes.append(self.control.start())
            self.control.add_person()
            unpack(depot.path("tailscale"), self.programs, self.env)
            processes += [self._joined(node) for node in MEMBERS]
            self.control.mint(self.auth_key, tagged=True)
        with progress.phase("lab: login"):
            machine.wait(layout, workstation)
        made = self._state(pins, overrides, processes)
        state.save(made)
        return made

    def _joined(self, node: str) -> Process:
        member = self.member(node)
        process = member.start()
        self._join(member)
        return process

    def _join(self, member: Member) -> None:
        self.control.mint(member.key, tagged=False)
        member.join()

    def mend(self, found: LabState, overrides: Mapping[str, Path] | None) -> LabState:
        """Start again what has died beside a living machine, serve the models asked for, let back in who logged out of the
        tailnet, and renew the workstation's key."""
        again: list[tuple[str, Callable[[], Process]]] = [
            ("uplink", lambda: Network(self.layout, self.env).uplink(self.nonce)),
            ("depot", lambda: servers.depot(self.layout, self.nonce, depot.root())),
            ("registry", lambda: servers.registry(self.layout, self.nonce, self.layout.models)),
            ("control", self.control.start),
            *((node, self.member(node).start) for node in MEMBERS),
        ]
        pins = models.make(self.layout.models, overrides)
        for role, begin in again:
            process = found.process(role)
            if process is None or not alive(process):
                self.progress.note(f"the lab's {role} had ended; starting it again")
                found.processes = [p for p in found.processes if p.role != role] + [begin()]
        for name in self.control.logged_out():
            # headscale lets none of them in again before it has forgotten them. The workstation joins in its next apply.
            self.control.forget(name)
            if name in MEMBERS:
                self.progress.note(f"the lab's {name} had logged out; it joins again")
                self._join(self.member(name))
        # A one-off key is used up by the first join; a workstation that was logged out needs another.
        self.control.mint(self.auth_key, tagged=True)
        made = self._state(pins, overrides, found.processes)
        made.vm = found.vm
        made.site |= patience(found.vm)
        made.tailnet |= self.control.addresses(self.layout.name)
        state.save(made)
        return made

    def _state(self, pins: dict[str, str], overrides: Mapping[str, Path] | None, processes: list[Process]) -> LabState:
        says = {role.name: role.says for role in roles.ROLES if role.name not in (overrides or {})}
        return LabState(
            name=self.layout.name,
            nonce=self.nonce,
            release=self.release,
            ssh_config=str(self.layout.ssh_config),
            site=site.block(self.layout, pins),
            namespaces=self.layout.namespaces,
            lan={"ipv4": at.WORKSTATION4, "ipv6": at.WORKSTATION6, "link_local": at.WORKSTATION_LINK_LOCAL},
            tailnet={
                "name": f"{self.layout.name}.{at.BASE_DOMAIN}", "ipv4": "", "ipv6": "", "control_url": at.CONTROL_URL,
            },
            processes=processes,
            models=says,
        )  # fmt: skip
