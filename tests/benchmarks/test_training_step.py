"""The benchmark runs and names every contender; what it measures is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_run_prints_a_row_for_each() -> None:
    command = [sys.executable, "-m", "benchmarks.training_step", "--quick", "--no-memory"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stderr
    for name in ("PEFT + diffusers", "sdlora", "floor"):
        assert f"| {name}" in answer.stdout
