"""Holdfast: turns bare Linux machines with NVIDIA GPUs into private AI workstations, and keeps them right."""

from __future__ import annotations

__version__ = "0.1.0"
