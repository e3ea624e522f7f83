"""The benchmark runs, and on mini every figure that is asked for holds: it ends with 1 where one does not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_run_has_a_row_for_each_dtype() -> None:
    command = [sys.executable, "-m", "benchmarks.mix_exactness", "--quick"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for dtype in ("float32", "bfloat16", "float16"):
        row = next(line for line in answer.stdout.splitlines() if line.startswith(f"| {dtype} | sdlora |"))
        assert row.endswith("| the same bits | the same bits |")
