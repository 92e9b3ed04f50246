"""What the unit says to the supervisor, by the environment that Ollama hands on to what it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from holdfast_onhost import devices
from holdfast_onhost.lease.refusal import Refused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_AGAIN = "./holdfast up HOST writes the instance's environment anew"


@dataclass(frozen=True)
class Settings:
    """Times in seconds, memory in MiB, `context` in tokens over all slots (0: unlimited)."""

    real: str  # path of the real llama-server
    instance: str
    directory: str
    resources: tuple[str, ...]  # sorted: the fixed order in which leases are taken; empty: nothing is shared
    min_hold_s: float
    context: int
    batch: int  # tokens computed at once; 0: unlimited
    load_limit_s: float  # a load that takes longer has failed
    gpus: str  # "NAME=PCI-ADDRESS …" as devices.py reads it; empty: none planned
    visible: tuple[str, ...]  # HOLDFAST_GPUS: the UUIDs that the server was started with
    require_gpu: bool
    vram_mib: tuple[int, ...]  # that must be free, in the order of `gpus`; empty: unknown
    server: tuple[str, int]  # where Ollama listens
    home: str
    root: str = "/"  # another one only in tests
    vram_wait_s: float = 10.0

    @property
    def on_gpus(self) -> bool:
        """Whether GPUs are planned, and were there when the unit started (devices.py writes -1 where the CPU was allowed)."""
        return bool(self.gpus) and self.visible != ("-1",)

    @property
    def environment(self) -> dict[str, str]:
        """What is different for the real llama-server: the unit's own cards.

        Ollama gives us only those that it has chosen (llm/llama_server.go, SetupLlamaServerCommandEnv), one of two for
        a client's main_gpu; the plan, and the proof that it holds, are for all of them.
        """
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.visible)} if self.visible else {}

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises Refused for what is missing or makes no sense."""
        resources = tuple(sorted(set(environment.get("HOLDFAST_LEASE", "").split())))
        for name in (*resources, _needed(environment, "HOLDFAST_INSTANCE")):
            if not _NAME.fullmatch(name):
                raise Refused(f"{name!r} in HOLDFAST_LEASE or HOLDFAST_INSTANCE is no name", _AGAIN)
        return cls(
            real=_needed(environment, "HOLDFAST_LLAMA_SERVER"),
            instance=environment["HOLDFAST_INSTANCE"],
            directory=_needed(environment, "HOLDFAST_LEASE_DIR") if resources else "",
            resources=resources,
            min_hold_s=_number(environment, "HOLDFAST_LEASE_MIN_HOLD_S", 60.0),
            context=int(_number(environment, "HOLDFAST_CONTEXT", 0)),
            batch=int(_number(environment, "HOLDFAST_BATCH", 0)),
            load_limit_s=_number(environment, "HOLDFAST_LOAD_LIMIT_S", 1800.0),
            gpus=environment.get("HOLDFAST_CARDS", ""),
            visible=tuple(filter(None, environment.get("HOLDFAST_GPUS", "").split(","))),
            require_gpu=devices.gpu_is_required(environment),
            vram_mib=_mebibytes(environment.get("HOLDFAST_LEASE_VRAM", "")),
            server=address(environment.get("OLLAMA_HOST", "")),
            home=_needed(environment, "HOME"),
            root=environment.get("HOLDFAST_ROOT", "/"),
            vram_wait_s=_number(environment, "HOLDFAST_LEASE_VRAM_WAIT_S", 10.0),
        )


def address(host: str) -> tuple[str, int]:
    """OLLAMA_HOST as host and port; a scheme is allowed, and so are parts that are left out."""
    parts = urlsplit(host if "://" in host else f"//{host}")
    name = parts.hostname or "127.0.0.1"
    return ("127.0.0.1" if name == "0.0.0.0" else name), parts.port or {"http": 80, "https": 443}.get(
        parts.scheme, 11434
    )


def _needed(environment: Mapping[str, str], key: str) -> str:
    value = environment.get(key, "")
    if not value:
        raise Refused(f"{key} is not set", _AGAIN)
    return value


def _number(environment: Mapping[str, str], key: str, default: float) -> float:
    text = environment.get(key, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise Refused(f"{key}: {text!r} is not a number, 0 or more", _AGAIN)
    return value


def _mebibytes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split())
    except ValueError:
        raise Refused(f"HOLDFAST_LEASE_VRAM: {text!r} is not a list of whole numbers", _AGAIN) from None
