"""NVIDIA cards: how much memory a model may have, and how fast it is read.

`vram_mib`: what nvidia-smi calls the total.  `bandwidth_gb_s`: the vendor's published memory bandwidth (10^9 bytes a second):
GeForce https://www.nvidia.com/en-us/geforce/graphics-cards/compare/ (memory speed x bus width), workstation and data-centre
cards their data sheets.  `devices`: PCI device numbers of vendor 10de, https://pci-ids.ucw.cz/read/PC/10de.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# What a process with a CUDA context has less: "24124 MiB, 23853 MiB free" (llama-server --list-devices on a 3090).
CONTEXT_MIB = 271
# A desktop on the card: 200 to 800 MiB (ollama/ollama#8597 and others); the most is taken.
DISPLAY_MIB = 800


@dataclass(frozen=True)
class Card:
    """One kind of card. ``free_mib``: what a process finds free after its CUDA context, with nothing else on the card."""

    name: str
    vram_mib: int
    free_mib: int
    bandwidth_gb_s: float
    devices: tuple[str, ...] = ()

    @property
    def reserve_mib(self) -> int:
        """What the driver keeps for itself."""
        return self.vram_mib - self.free_mib - CONTEXT_MIB

    def with_display(self) -> Card:
        """The card with a desktop on it."""
        return replace(self, free_mib=self.free_mib - DISPLAY_MIB)

    def with_taken(self, mib: float) -> Card:
        """The card while another process has ``mib`` of it."""
        return replace(self, free_mib=max(0, int(self.free_mib - mib)))


def free_mib(vram_mib: int) -> int:
    """What is free of ``vram_mib`` after the driver's share and a CUDA context, where nobody published it: an estimate.

    The driver's share grows with the memory ("VRAM: … MiB" in the lines of ggml_cuda_init): 382 of 12288 MiB on a 3060,
    452 of 24576 on a 3090, 478 of 81559 on an H100. 260 MiB + 0.8 % gives 358, 456 and 912.
    """
    return vram_mib - CONTEXT_MIB - 260 - vram_mib * 8 // 1000


# Free MiB as published: the lowest figure of an otherwise empty card on Linux.
# rtx-3090: "NVIDIA GeForce RTX 3090 (24124 MiB, 23853 MiB free)", Linux 2026; "23982 MiB free" with the drivers of 2025
# (ollama/ollama#8597). rtx-4090: "23818 MiB free"; rtx-5090: "31518 MiB free"; A100-PCIE-40GB: "39903 MiB free"
# (llama_model_load_from_file_impl lines).
_PUBLISHED = {"rtx-3090": 23853, "rtx-4090": 23818, "rtx-5090": 31518, "a100-40gb": 39903}

_TABLE: dict[str, tuple[str, int, float, str]] = {
    "rtx-3050": ("GeForce RTX 3050 8GB", 8192, 224, "2507 2582"),
    "rtx-3060": ("GeForce RTX 3060 12GB", 12288, 360, "2503 2504 2487 2544"),
    "rtx-3060-ti": ("GeForce RTX 3060 Ti", 8192, 448, "2486 2489 2414"),
    "rtx-3070": ("GeForce RTX 3070", 8192, 448, "2484 2488"),
    "rtx-3070-ti": ("GeForce RTX 3070 Ti", 8192, 608, "2482"),
    "rtx-3080": ("GeForce RTX 3080 10GB", 10240, 760, "2206 2216"),
    "rtx-3080-12gb": ("GeForce RTX 3080 12GB", 12288, 912, "220a"),
    "rtx-3080-ti": ("GeForce RTX 3080 Ti", 12288, 912, "2208"),
    "rtx-3090": ("GeForce RTX 3090", 24576, 936, "2204"),
    "rtx-3090-ti": ("GeForce RTX 3090 Ti", 24564, 1008, "2203"),
    "rtx-4060": ("GeForce RTX 4060", 8188, 272, "2882"),
    "rtx-4060-ti": ("GeForce RTX 4060 Ti 8GB", 8188, 288, "2803"),
    "rtx-4060-ti-16gb": ("GeForce RTX 4060 Ti 16GB", 16380, 288, "2805"),
    "rtx-4070": ("GeForce RTX 4070", 12282, 504, "2786"),
    "rtx-4070-super": ("GeForce RTX 4070 SUPER", 12282, 504, "2783"),
    "rtx-4070-ti": ("GeForce RTX 4070 Ti", 12282, 504, "2782"),
    "rtx-4070-ti-super": ("GeForce RTX 4070 Ti SUPER", 16376, 672, "2705"),
    "rtx-4080": ("GeForce RTX 4080", 16376, 716, "2704"),
    "rtx-4080-super": ("GeForce RTX 4080 SUPER", 16376, 736, "2702"),
    "rtx-4090": ("GeForce RTX 4090", 24564, 1008, "2684"),
    "rtx-5060": ("GeForce RTX 5060", 8151, 448, "2d05"),
    # One PCI number for both sizes: the smaller is meant where only the number is known.
    "rtx-5060-ti": ("GeForce RTX 5060 Ti 8GB", 8151, 448, "2d04"),
    "rtx-5060-ti-16gb": ("GeForce RTX 5060 Ti 16GB", 16311, 448, ""),
    "rtx-5070": ("GeForce RTX 5070", 12227, 672, "2f04"),
    "rtx-5070-ti": ("GeForce RTX 5070 Ti", 16303, 896, "2c05"),
    "rtx-5080": ("GeForce RTX 5080", 16303, 960, "2c02"),
    "rtx-5090": ("GeForce RTX 5090", 32607, 1792, "2b85"),
    "rtx-a4000": ("RTX A4000", 16376, 448, "24b0"),
    "rtx-a4500": ("RTX A4500", 20470, 640, "2232"),
    "rtx-a5000": ("RTX A5000", 24564, 768, "2231"),
    "rtx-a5500": ("RTX A5500", 24564, 768, "2233"),
    "rtx-a6000": ("RTX A6000", 49140, 768, "2230"),
    "rtx-4000-ada": ("RTX 4000 Ada Generation", 20475, 360, "27b2"),
    "rtx-4500-ada": ("RTX 4500 Ada Generation", 24570, 432, "27b1"),
    "rtx-5000-ada": ("RTX 5000 Ada Generation", 32760, 576, "26b2"),
    "rtx-6000-ada": ("RTX 6000 Ada Generation", 49140, 960, "26b1"),
    "rtx-pro-4000": ("RTX PRO 4000 Blackwell", 24467, 672, ""),
    "rtx-pro-4500": ("RTX PRO 4500 Blackwell", 32623, 896, ""),
    "rtx-pro-5000": ("RTX PRO 5000 Blackwell", 48935, 1344, ""),
    "rtx-pro-6000": ("RTX PRO 6000 Blackwell", 97887, 1792, "2bb1"),
    "t4": ("Tesla T4", 15360, 300, "1eb8"),
    "a10": ("A10", 23028, 600, "2236"),
    "a30": ("A30", 24576, 933, "20b7"),
    "a40": ("A40", 46068, 696, "2235"),
    "l4": ("L4", 23034, 300, "27b8"),
    "l40": ("L40", 46068, 864, "26b5"),
    "l40s": ("L40S", 46068, 864, "26b9"),
    "v100-16gb": ("Tesla V100 16GB", 16384, 900, "1db1 1db4"),
    "v100-32gb": ("Tesla V100 32GB", 32768, 900, "1db5 1db6"),
    "a100-40gb": ("A100 40GB", 40960, 1555, "20b0 20b1 20f1"),
    "a100-80gb": ("A100 80GB", 81920, 1935, "20b2 20b5"),
    "h100-pcie": ("H100 PCIe", 81559, 2000, "2331"),
    "h100": ("H100 SXM", 81559, 3350, "2330"),
    "h200": ("H200", 143771, 4800, "2335"),
}

CARDS: dict[str, Card] = {
    key: Card(name, vram, _PUBLISHED.get(key, free_mib(vram)), bandwidth, tuple(devices.split()))
    for key, (name, vram, bandwidth, devices) in _TABLE.items()
}


def by_device(device: str) -> str:
    """The key of the card with this PCI device number ("2204" or "0x2204"); empty where it is not in the table."""
    wanted = device.lower().removeprefix("0x")
    return next((key for key, card in CARDS.items() if wanted in card.devices), "")


def custom(vram_mib: int, bandwidth_gb_s: float, name: str = "") -> Card:
    """A card that is not in the table, or one that differs from it."""
    return Card(name or f"{vram_mib} MiB card", vram_mib, free_mib(vram_mib), bandwidth_gb_s)
