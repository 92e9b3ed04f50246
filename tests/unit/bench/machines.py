"""What a machine with two 3090s would say: FAKE, written in the form of published logs, and taken from no machine of ours.

journal: the lines of llama.cpp (src/llama-model.cpp, load_tensors) as in ollama/ollama#8597 and others. nvidia-smi: rows in
the form of driver 550 with --format=csv,noheader,nounits.

RECORDED is not made up: each is what people's machines have written, with its address.
"""

from __future__ import annotations

from typing import Any

LEFT, RIGHT = "GPU-30900000-0000-0000-0000-000000000000", "GPU-30900000-0000-0000-0000-000000000001"
PLANNED = {"left": "0000:01:00.0", "right": "0000:21:00.0"}
JOURNAL = """\
load_tensors: offloading 64 repeating layers to GPU
load_tensors: offloading output layer to GPU
load_tensors: offloaded 65/65 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   417.66 MiB
load_tensors:        CUDA0 model buffer size = 18508.35 MiB
"""
# Text of a journal -> (layers on cards, layers).
RECORDED = {
    # ollama/ollama#9415, 2025: an RTX 4090's, as journalctl shows it.
    """\
Feb 28 12:44:32 ai-server ollama[854770]: load_tensors: offloading 42 repeating layers to GPU
Feb 28 12:44:32 ai-server ollama[854770]: load_tensors: offloading output layer to GPU
Feb 28 12:44:32 ai-server ollama[854770]: load_tensors: offloaded 43/43 layers to GPU
Feb 28 12:44:32 ai-server ollama[854770]: load_tensors:   CPU_Mapped model buffer size =   717.77 MiB
""": (43, 43),
    # ollama/ollama#2266, 2024: three cards.
    """\
Jan 30 09:13:15 ollama-host ollama[5307]: llm_load_tensors: offloading 32 repeating layers to GPU
Jan 30 09:13:15 ollama-host ollama[5307]: llm_load_tensors: offloading non-repeating layers to GPU
Jan 30 09:13:15 ollama-host ollama[5307]: llm_load_tensors: offloaded 33/33 layers to GPU
Jan 30 09:13:15 ollama-host ollama[5307]: llm_load_tensors:      CUDA0 buffer size =  4695.56 MiB
""": (33, 33),
}
PARTLY = JOURNAL.replace("65/65", "48/65")
OLLAMA, CHILD, STRANGER = 4200, 4242, 999


def card(uuid: str, address: str, **other: str) -> str:
    """One row of CARD."""
    fields = {
        "uuid": uuid, "bus": f"0000{address}".upper(), "name": "NVIDIA GeForce RTX 3090", "driver": "550.163.01", "used": "19800",
        "total": "24576", "draw": "310.55", "limit": "350.00", "default": "350.00", "celsius": "64",
        "sm": "1695", "sm_most": "2100",
        "memory": "9501", "memory_most": "9751", "gen": "4", "gen_most": "4", "lanes": "16", "lanes_most": "16", "pstate": "P2",
        "use": "97",
    } | other  # fmt: skip
    return ", ".join(fields.values())


def look(*on: str, cards: str = "", events: str = "", model: str = "qwen2.5-coder:32b", **more: Any) -> dict[str, Any]:
    """One moment of a generation by the process CHILD, which has memory on the cards ``on``."""
    rows = cards or f"{card(LEFT, PLANNED['left'])}\n{card(RIGHT, PLANNED['right'])}\n"
    size = more.get("size", 20 << 30)
    apps = "".join(f"{uuid}, {CHILD}, 19500, /opt/ollama/current/lib/ollama/llama-server\n" for uuid in on)
    return {
        "apps": {"text": apps + more.get("others", ""), "problem": ""}, "cards": {"text": rows, "problem": ""},
        "events": {"text": events or f"{LEFT}, 0x0000000000000000\n{RIGHT}, 0x0000000000000001\n", "problem": ""},
        "pids": [OLLAMA, CHILD], "models": {"models": [{"name": model, "size": size, "size_vram": more.get("vram", size)}]},
    }  # fmt: skip


def run(length: int, rate: float, **more: float) -> dict[str, float]:
    """One generation of 128 tokens."""
    seen = {
        "length": length, "prompt_tokens": length + 1, "prompt_s": length / 1500, "tokens": 128, "decode_s": 128 / rate,
        "load_s": 0.002, "first_s": length / 1500 + 0.01,
    }  # fmt: skip
    return {**seen, "wall_s": seen["prompt_s"] + seen["decode_s"] + 0.02} | more


def instance(rate: float, *on: str, lengths: tuple[int, ...] = (128, 4096), **more: Any) -> dict[str, Any]:
    """Five runs of each length at about ``rate`` tokens a second, on the cards ``on``."""
    runs = [run(length, rate + n / 10) for n in range(5) for length in lengths]
    found = {"problem": "", "load": run(1, rate), "runs": runs, "looks": [look(*on), look(*on)]}
    return found | {"journal": {"text": JOURNAL, "problem": ""}} | more
