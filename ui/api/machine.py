"""Memory, as A1111 tells it: bytes."""

from typing import Any

import psutil
import torch


def memory() -> dict[str, Any]:
    """Of the whole machine, and of the first CUDA device where there is one."""
    ram = psutil.virtual_memory()
    return {"ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total}, "cuda": _cuda()}


def _cuda() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    facts = dict(torch.cuda.memory_stats())
    kinds = {"active": "active_bytes", "allocated": "allocated_bytes", "reserved": "reserved_bytes"}
    told = {
        kind: {"current": facts.get(f"{key}.all.current", 0), "peak": facts.get(f"{key}.all.peak", 0)}
        for kind, key in kinds.items()
    }
    events = {"retries": facts.get("num_alloc_retries", 0), "oom": facts.get("num_ooms", 0)}
    return {"system": {"free": free, "used": total - free, "total": total}, **told, "events": events}
