"""The machine under test: its shape, and how it is looked at."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LOOK = Path(__file__).parent / "look"


@dataclass(frozen=True)
class Instance:
    """One Ollama server as the settings describe it. ``context`` in tokens."""

    model: str
    port: int
    context: int
    parallel: int
    kv_type: str
    keep_alive: str
    gpus: tuple[str, ...]
    lease: tuple[str, ...]
    min_hold_s: float
    flash_attention: bool
    batch: int


@dataclass(frozen=True)
class Shape:
    """What differs from machine to machine."""

    name: str
    login_user: str
    instances: dict[str, Instance]
    gpus: dict[str, str]
    require_gpu: bool
    web_port: int
    admin_email: str
    tailnet: bool
    control_url: str
    publishes: bool
    authorities: tuple[str, ...] = field(default=())
    pins: dict[str, str] = field(default_factory=dict)
    depot: str = ""
    store: str = "/var/lib/holdfast/models"
    cache_ram_mib: int = 2048
    load_limit_s: int = 1800
    llm_library: str = "cuda_v12"

    @classmethod
    def of(cls, ws: Any) -> Shape:
        instances = {
            role: Instance(i.model, i.port, i.context, i.parallel, i.kv_type, i.keep_alive, tuple(i.gpus), tuple(i.held),
                           ws.ollama.lease_min_hold_s, i.flash_attention, i.batch)
            for role, i in ws.instances.items()
        }
        return cls(
            ws.name, ws.login_user, instances, dict(ws.addresses), ws.require_gpu, ws.open_webui.port, ws.open_webui.admin_email,
            ws.tailscale.enabled, ws.tailscale.login_server, ws.tailscale.serve, tuple(ws.base.ca_certificates),
            dict(ws.models.pins), ws.depot, ws.models.store, ws.ollama.cache_ram_mib, ws.ollama.load_limit_s,
            ws.ollama.llm_library,
        )  # fmt: skip

    @property
    def ollama_units(self) -> list[str]:
        return [f"ollama@{role}.service" for role in self.instances]

    @property
    def units(self) -> list[str]:
        return [*self.ollama_units, "open-webui.service", *(["tailscaled.service"] if self.tailnet else [])]


class Listeners(list[dict[str, Any]]):
    """Each ``{protocol, address, port, unit, program}``."""

    def of(self, unit: str, protocol: str = "tcp") -> set[str]:
        """``address:port`` of all that ``unit`` listens on."""
        return {f"{e['address']}:{e['port']}" for e in self if e["unit"] == unit and e["protocol"] == protocol}


class Machine:
    """One machine, through testinfra."""

    def __init__(self, host: Any) -> None:
        self.host = host

    def require_root(self) -> None:
        """A reader that may not see everything would find everything closed."""
        found = self.host.run("id -u")
        if found.stdout.strip() != "0":
            said = found.stderr.strip() or f"user id {found.stdout.strip()!r}"
            pytest.exit(
                f"tests/verify must be root on the machine: {said}\nFix: allow this user to sudo, and give sudo=true in --hosts",
                returncode=4,
            )

    def sh(self, command: str, *words: str) -> Any:
        """Run a shell line as root; ``%s`` in it stands for the quoted ``words``."""
        return self.host.run(command, *words)

    def look(self, name: str, **given: Any) -> Any:
        """Run look/NAME.py on the machine: one round trip, JSON back. Fails with the program's own last words."""
        # Packed, since sudo writes every argument into the machine's log. No secret is ever among them.
        source = base64.b64encode(zlib.compress((LOOK / f"{name}.py").read_bytes(), 9)).decode()
        line = f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{source}')))"
        done = self.host.run(f": holdfast verify, look {name}; /usr/bin/python3 -I -c %s %s", line, json.dumps(given))
        if done.rc != 0:
            # A traceback's last line says what is wrong; what is cut off of a long reason is its end.
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            said = f"look/{name}.py ended with status {done.rc} on the machine: {last}"
            pytest.fail(f"{said}\n{done.stderr[-3000:]}", pytrace=False)
        return json.loads(done.stdout)


def assert_on_cards(role: str, model: str, loaded: list[dict[str, Any]]) -> None:
    """``model`` is what ``role`` has loaded (its /api/ps), and all of it is in the memory of the cards."""
    assert [m["name"] for m in loaded] == [model], f"{role} holds {loaded}"
    assert loaded[0]["size_vram"] == loaded[0]["size"] > 0, f"{role}: {model} is partly on the processor: {loaded[0]}"


def assert_confined(confined: dict[str, Any], units: list[str]) -> None:
    """Everything that the probe reaches outside, it does not reach inside; and inside it can still reach loopback."""
    outside = confined["outside"]
    blind = {name: how for name, how in outside.items() if how != "open"}
    assert not blind, f"the probe outside gets no answer either, so it proves nothing: {blind}"
    assert len(outside) > 1, "nothing but loopback is there to be reached: does this machine have an address?"
    for unit in units:
        seen = confined["units"][unit]
        assert "problem" not in seen, f"{unit}: {seen['problem']}"
        assert seen["reach"].get("loopback") == "open", f"{unit}: the probe inside is broken: {seen['reach']}"
        reached = [name for name, how in seen["reach"].items() if how == "open" and name != "loopback"]
        assert not reached, f"a program inside {unit} reaches {reached}"
