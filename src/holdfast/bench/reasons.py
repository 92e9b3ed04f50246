"""Why a model is slower than its cards allow: the likeliest reasons first, each with what to look at (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from holdfast.bench.evidence import Seen
from holdfast.bench.proofs import Proof

_HOT = 83.0  # degrees: where GeForce cards begin to take their clocks back
_MEMORY_LOW = 0.95  # of the most; CUDA takes a little off by itself (9501 of 9751 MHz on a 3090)
_CAP = 0.98  # of the power limit: at it


@dataclass(frozen=True)
class Reason:
    """What was seen, and what to look at or to do."""

    what: str
    look: str


# For when nothing was seen: what remains, in the order in which it is met.
_UNSEEN = Reason(
    "none of the usual reasons was seen while it generated: CPU offload, other processes, memory clock, heat, power, PCIe link",
    "nvidia-smi -q -d CLOCK,PERFORMANCE,TEMPERATURE,POWER while it generates; the driver's log, sudo dmesg | grep -i -e xid "
    "-e nvrm; then the driver and the release of Ollama, one at a time",
)


def reasons(
    proofs: Sequence[Proof], strangers: Sequence[Mapping[str, str]], cards: Sequence[Seen], kinds: Mapping[str, str], *,
    waited: int, runs: int, long_only: bool,
) -> list[Reason]:  # fmt: skip
    """The likeliest first; one at least.

    ``kinds``: name of the card -> what the settings say it is. ``waited``: of ``runs``, those in which somebody else had the
    card first. ``long_only``: it is only at long prompts that it is too slow.
    """
    out = [
        *_offload(proofs), *_others(strangers), *_wrong_card(cards, kinds), *_heat(cards), *_memory(cards), *_power(cards),
        *_pcie(cards),
    ]  # fmt: skip
    if waited:
        what = f"in {waited} of {runs} runs somebody else's request came in between"
        out.append(Reason(what, "measure when nobody works: holdfast-gpu status"))
    if long_only:
        out.append(Reason(
            "only at long prompts: reading the KV cache is slower than reading weights",
            "flash_attention: true and kv_type of the instance; f16 is read fastest and takes the most memory (./holdfast plan)",
        ))  # fmt: skip
    return out or [_UNSEEN]


def unproven(role: str, proofs: Sequence[Proof]) -> list[Reason]:
    """What to do about each proof that could not be had; without it nothing says where the model runs."""
    looks = {
        "journal": f"can this login read it? sudo journalctl -u ollama@{role} | grep offloaded",
        "nvidia-smi": "nvidia-smi --query-compute-apps=gpu_uuid,pid,used_memory --format=csv on the machine while it generates",
    }
    return [
        Reason(
            f"not proven by {proof.name}: {proof.words}", looks.get(proof.name, f"journalctl -u ollama@{role} -n 50")
        )
        for proof in proofs
        if proof.holds is None
    ]


def unreachable(role: str) -> Reason:
    """What to do about an instance that gives no answer."""
    return Reason(
        "its server or its model does not come up",
        f"./holdfast status HOST; sudo journalctl -u ollama@{role} -n 50 there",
    )


def _offload(proofs: Sequence[Proof]) -> Iterator[Reason]:
    for proof in proofs:
        if proof.holds is False:
            look = "./holdfast plan says what fits; journalctl -u ollama@ROLE for `offloaded` and `buffer size`; nvidia-smi"
            yield Reason(f"not wholly on its cards ({proof.name}: {proof.words})", look)


def _others(strangers: Sequence[Mapping[str, str]]) -> Iterator[Reason]:
    for one in strangers:
        process = f"{one['program']}, pid {one['pid']}, {one['mib'] or '?'} MiB"
        what = f"another process works on card {one['card']}: {process}"
        yield Reason(what, f"ps -fp {one['pid']} on the machine; end it, or measure without it")


def _wrong_card(cards: Sequence[Seen], kinds: Mapping[str, str]) -> Iterator[Reason]:
    for card in cards:
        declared = kinds.get(card.name, "")
        if declared and declared.lower() not in card.model.lower():
            fix = "set gpus.NAME.card, or vram_mib and bandwidth_gb_s, to what it is: the ceiling was computed for another card"
            yield Reason(f"card {card.name} is a {card.model}, and the settings say {declared}", fix)


def _heat(cards: Sequence[Seen]) -> Iterator[Reason]:
    for card in cards:
        if card.heat or (card.celsius is not None and card.celsius >= _HOT):
            said = ", and its driver takes the clocks back for it" if card.heat else ""
            look = "nvidia-smi -q -d TEMPERATURE; fans, dust, room between the cards (a 3090's memory is hotter than its chip)"
            yield Reason(f"card {card.name} is hot: {_figure(card.celsius)} degrees{said}", look)


def _memory(cards: Sequence[Seen]) -> Iterator[Reason]:
    for card in cards:
        now, most = card.memory_mhz, card.memory_most_mhz
        if now is not None and most and now < _MEMORY_LOW * most:
            look = "nvidia-smi -q -d CLOCK,PERFORMANCE; a fixed clock is undone by: sudo nvidia-smi -rmc; else reboot"
            what = (
                f"card {card.name}'s memory runs at {now:.0f} of {most:.0f} MHz, and decoding is as fast as the memory"
            )
            yield Reason(what, look)


def _power(cards: Sequence[Seen]) -> Iterator[Reason]:
    for card in cards:
        lowered = card.limit_w is not None and card.default_limit_w is not None and card.limit_w < card.default_limit_w
        at_it = card.limit_w is not None and card.draw_w is not None and card.draw_w >= _CAP * card.limit_w
        figures = f"{_figure(card.draw_w)} W of {_figure(card.limit_w)} (the card's own limit: {_figure(card.default_limit_w)})"
        if card.slowdown:
            look = "the card's power cables (one a socket, no splitter), the power supply; nvidia-smi -q -d PERFORMANCE"
            yield Reason(f"card {card.name}'s hardware slows it down (power brake, supply or heat): {figures}", look)
        elif card.power or (lowered and at_it):
            look = "nvidia-smi -q -d POWER; nvidia.power_limit_w in hosts.yml (290 W costs a 3090 about 6 %, 200 W far more)"
            yield Reason(f"card {card.name} is held down by its power limit: {figures}", look)


def _pcie(cards: Sequence[Seen]) -> Iterator[Reason]:
    for card in cards:
        if card.pcie and card.pcie_most and (card.pcie[0] < card.pcie_most[0] or card.pcie[1] < card.pcie_most[1]):
            now, most = (f"generation {gen} x{lanes}" for gen, lanes in (card.pcie, card.pcie_most))
            look = "the slot (sudo lspci -vv, LnkSta), the riser, BIOS; it costs load time first, tokens little"
            yield Reason(f"card {card.name}'s PCIe link is {now} of {most}", look)


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
