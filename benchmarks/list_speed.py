"""How long `sdlora list` takes over 1,000 adapter files of 100 MB, when it has never seen them and when it has.

    python -m benchmarks.list_speed

The files have the header of a full-target SD 1.5 adapter as Kohya's scripts write it, metadata included; their data are
holes, so that they take no room on the disk. Each time is that of the whole command, interpreter's start included.
Writes benchmarks/results/list_speed.md.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import load, machine
from sdlora.adapters import tables

FILES, SIZE = 1000, 100_000_000
FULL_TARGETS = r"unet\..*\.attentions\.\d+\.(?!norm$).*(?<!norm\d)|text_encoder.*\.(self_attn\.\w+|mlp\.fc\d)"
RANK = 84  # fp16, 264 modules: just under 100 MB
RESULTS = Path(__file__).parent / "results" / "list_speed.md"


def main() -> None:
    """Make the files, list them, write the table, remove the files."""
    with tempfile.TemporaryDirectory(prefix="sdlora-list-") as name:
        folder = Path(name)
        header = full_header()
        for number in range(FILES):
            write_sparse(folder / "adapters" / f"style {number % 10}" / f"adapter-{number:04}.safetensors", header)
        memory = {**os.environ, "SDLORA_CACHE": str(folder / "cache")}
        cold, cold_cpu = seconds(folder / "adapters", memory)
        cached, cached_cpu = min(seconds(folder / "adapters", memory) for _ in range(3))
    lines = [
        "# `sdlora list`: 1,000 files of 100 MB",
        "",
        f"{machine('safetensors')}, load {load()}. Made by `python -m benchmarks.list_speed`.",
        "",
        "The whole command, interpreter's start included. The files were just written, so the disk's own cache is",
        "warm; cold means that sdlora had never listed them. Cached: the best of three. CPU: the processor's time,",
        "which other programs hardly lengthen.",
        "",
        f"Each header: {len(header):,} bytes, 264 modules, 792 tensors, tags and training facts.",
        "",
        "| | seconds | CPU seconds | asked |",
        "| --- | --- | --- | --- |",
        f"| cold | {cold:.2f} | {cold_cpu:.2f} | ≤ 5 |",
        f"| cached | {cached:.2f} | {cached_cpu:.2f} | ≤ 1 |",
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


def full_header() -> bytes:
    """The JSON header of a full-target SD 1.5 file of nearly 100 MB."""
    tags = {f"10_style {n}": {f"tag number {i}": i for i in range(150)} for n in range(2)}
    entries: dict[str, object] = {
        "__metadata__": {
            "ss_base_model_version": "sd_v1",
            "ss_network_dim": str(RANK),
            "ss_tag_frequency": json.dumps(tags),
            "modelspec.trigger_phrase": "in ink style",
            "sshs_model_hash": "0" * 64,
        }
    }
    position = 0
    for row in tables.rows("sd1"):
        if not re.fullmatch(FULL_TARGETS, row.path):
            continue
        outputs, inputs, *kernel = row.shape
        parts = {"lora_down": (RANK, inputs, *kernel), "lora_up": (outputs, RANK, *(1 for _ in kernel))}
        for part, shape in [*((f"{name}.weight", shape) for name, shape in parts.items()), ("alpha", ())]:
            end = position + 2 * math.prod(shape)
            entry = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, end]}
            entries[f"{row.names[0]}.{part}"] = entry
            position = end
    filler = SIZE - position - 200_000
    entries["filler"] = {"dtype": "U8", "shape": [filler], "data_offsets": [position, position + filler]}
    return json.dumps(entries, separators=(",", ":")).encode()


def write_sparse(path: Path, header: bytes) -> None:
    """The header, then a hole up to where the last tensor ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        last = max(entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__")
        file.truncate(8 + len(header) + last)


def seconds(folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall time and processor's time of one listing."""
    start, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "sdlora.cli", "list", str(folder), "--json"]
    listed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    spent, after = time.perf_counter() - start, os.times()
    assert [file["family"] for file in json.loads(listed)] == ["sd1"] * FILES
    processor = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return spent, processor


if __name__ == "__main__":
    main()
