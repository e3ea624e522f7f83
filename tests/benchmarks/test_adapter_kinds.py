"""The table has a row for each kind, and none is further off than what is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.updates.references import CASES

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_kind(tmp_path: Path) -> None:
    written = tmp_path / "kinds.md"
    command = [sys.executable, "-m", "benchmarks.adapter_kinds", "--width", "16", "--out", str(written)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert answer.returncode == 0, answer.stderr
    rows = [line for line in written.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == [case.name for case in CASES]
