"""The benchmark runs and has a row for each; what it measures is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_quick_run_prints_every_phase(dtype: str) -> None:
    command = [sys.executable, "-m", "benchmarks.slider_speed", "--quick", "--rounds", "1", "--dtype", dtype]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stderr
    rows = [line for line in answer.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5
    assert sum("finding" in row and "summing" in row and "writing" in row for row in rows) == 3
    assert sum("unfuse" in row and "set" in row and "fuse" in row for row in rows) == 2
