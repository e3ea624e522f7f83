"""What a measurement was taken on, for the line above its table."""

import os
import platform
import re
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

FAST_BF16 = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}


def machine(*packages: str) -> str:
    """Date, CPU with its bf16 instructions, threads, and the versions of torch and `packages`, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    return f"{date.today()}, {_cpu()}, {torch.get_num_threads()} threads, {versions}"


def load() -> str:
    """How many processes wanted to run in the last minute, where the system tells."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    facts = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", info.read_text(encoding="utf-8"), re.MULTILINE))
    if "model name" not in facts:
        return platform.machine()
    fast = [name for flag, name in FAST_BF16.items() if flag in facts.get("flags", "").split()]
    extra = " and ".join(fast) or "no fast bf16"
    return f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')}, {extra})"
