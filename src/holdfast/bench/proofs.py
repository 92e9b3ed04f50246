"""The three proofs that a model is wholly on its planned cards, from what Ollama, the journal and nvidia-smi said (pure).

Two of three are not enough: /api/ps tells what Ollama has asked for and shows a parked model as resident, the journal what
llama-server meant to do, and nvidia-smi who has memory on a card, but not how much of the model that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.bench.onhost.machine import APPS, CARD

# llama_model::load_tensors (llama.cpp, src/llama-model.cpp); a build that knows no card does not say it.
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
UNSEEN = "nobody looked while it generated"
_NOTHING = ("", "[n/a]", "n/a", "[not supported]", "[unknown error]", "[insufficient permissions]")


@dataclass(frozen=True)
class Proof:
    """``holds``: None where it could not be seen, which is no proof either. ``words``: what was seen."""

    name: str
    holds: bool | None
    words: str


def offloaded(journal: str) -> list[tuple[int, int]]:
    """(layers on cards, layers) of each load, in order."""
    return [(int(found[1]), int(found[2])) for found in _OFFLOADED.finditer(journal)]


def rows(text: str, fields: str) -> list[dict[str, str]]:
    """nvidia-smi's CSV (noheader, nounits) by field; what it does not know is empty. A last field may have commas."""
    names = fields.split(",")
    found = [[cell.strip() for cell in line.split(",", len(names) - 1)] for line in text.splitlines() if line]
    return [
        {name: "" if cell.lower() in _NOTHING else cell for name, cell in zip(names, row, strict=True)}
        for row in found
        if len(row) == len(names)
    ]


def address(bus_id: str) -> str:
    """nvidia-smi's "00000000:01:00.0" as sysfs and hosts.yml have it: "0000:01:00.0"."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}" if re.fullmatch(r"[0-9a-f]+", domain) else bus_id.lower()


def uuids(cards: str, planned: Mapping[str, str]) -> dict[str, str]:
    """UUID -> the site's name, of the ``planned`` cards (name -> PCI address) that nvidia-smi lists."""
    names = {where: name for name, where in planned.items()}
    found = {row["uuid"]: names.get(address(row["pci.bus_id"]), "") for row in rows(cards, CARD)}
    return {uuid: name for uuid, name in found.items() if name}


def by_ps(looks: Sequence[Mapping[str, Any]], model: str, problem: str = "") -> Proof:
    """While tokens came, which only the holder of the lease can give, Ollama had all of the model in the cards' memory.

    ``problem``: why nobody looked.
    """
    name, words = "/api/ps", problem or UNSEEN
    for look in looks:
        try:
            entry = next((m for m in look["models"]["models"] if m["name"] == model), None)
            if entry is None:
                return Proof(name, False, f"{model} is not loaded, says Ollama")
            size, there = int(entry["size"]), int(entry["size_vram"])
        except (KeyError, TypeError, ValueError):
            return Proof(name, None, f"its answer is not understood: {str(look['models'])[:200]}")
        share = 100 * there / size if size else 0.0
        words = f"{share:.0f} % of {size / 2**30:.1f} GiB"
        if there != size or not size:
            return Proof(name, False, f"{words} in the cards' memory, says Ollama")
    return Proof(name, True if looks else None, words)


def by_journal(journal: Mapping[str, str]) -> Proof:
    """Every load since the first one of ours put all layers on cards."""
    loads = offloaded(journal["text"])
    if not loads:
        why = (
            journal["problem"]
            or "no line `offloaded N/N layers to GPU` in it: nothing was loaded, or by a build without CUDA"
        )
        return Proof("journal", None, why)
    wrong = [load for load in loads if load[0] != load[1]]
    there, all_of_them = (wrong or loads)[-1]
    return Proof("journal", not wrong, f"offloaded {there}/{all_of_them}")


def by_smi(looks: Sequence[Mapping[str, Any]], planned: Mapping[str, str], problem: str = "") -> Proof:
    """While tokens came, the instance's processes had memory on exactly the planned cards, by their UUIDs."""
    name, words = "nvidia-smi", problem or UNSEEN
    for look in looks:
        problem = look["apps"]["problem"] or look["cards"]["problem"]
        if problem:
            return Proof(name, None, problem)
        known = uuids(look["cards"]["text"], planned)
        missing = [gpu for gpu in planned if gpu not in known.values()]
        if missing:
            return Proof(name, False, f"it does not list {', '.join(missing)}")
        apps = rows(look["apps"]["text"], APPS)
        mine = {row["gpu_uuid"] for row in apps if row["pid"].isdigit() and int(row["pid"]) in look["pids"]}
        seen = ", ".join(known.get(uuid, uuid) for uuid in sorted(mine)) or "no card"
        words = ", ".join(f"{known[uuid]} ({uuid})" for uuid in sorted(mine) if uuid in known)
        if mine != set(known):
            return Proof(name, False, f"its processes are on {seen}; planned: {', '.join(planned)}")
    return Proof(name, True if looks else None, words)


def proofs(found: Mapping[str, Any], model: str, planned: Mapping[str, str]) -> list[Proof]:
    """All three. ``planned``: card's name -> PCI address; none of it: nothing to prove."""
    if not planned:
        return []
    looks, problem = found["looks"], found.get("looks_problem", "")
    return [by_ps(looks, model, problem), by_journal(found["journal"]), by_smi(looks, planned, problem)]


def strangers(looks: Sequence[Mapping[str, Any]], planned: Mapping[str, str]) -> list[dict[str, str]]:
    """Processes of others on the planned cards while the instance generated, each once: name of the card, pid, program, MiB."""
    out: dict[tuple[str, str], dict[str, str]] = {}
    for look in looks:
        known = uuids(look["cards"]["text"], planned)
        for row in rows(look["apps"]["text"], APPS):
            if row["gpu_uuid"] in known and not (row["pid"].isdigit() and int(row["pid"]) in look["pids"]):
                card = known[row["gpu_uuid"]]
                one = {"card": card, "pid": row["pid"], "program": row["process_name"], "mib": row["used_memory"]}
                out[card, row["pid"]] = one
    return list(out.values())
