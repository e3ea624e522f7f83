"""The benchmark runs and has a row for each contender; what it measures is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ("images", ["sdlora", "diffusers `set_adapters`", "diffusers fused"]),
        ("files", ["sdlora: `load_adapter`", "sdlora: `Mixer.set`", "diffusers: ", "PEFT: "]),
        ("start", ["sdlora", "diffusers"]),
    ],
)
def test_the_quick_run_has_a_row_for_each(part: str, rows: list[str]) -> None:
    command = [sys.executable, "-m", "benchmarks.mixing_speed", "--quick", "--rounds", "1", "--part", part]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stderr
    found = [line for line in answer.stdout.splitlines() if line.startswith("| ")][-len(rows) :]
    assert all(line.startswith(f"| {row}") for line, row in zip(found, rows, strict=True)), found
