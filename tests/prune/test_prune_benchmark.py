"""The benchmark of the scoring step runs and prints its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_scoring_benchmark_prints_every_row() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "scoring.py", "--repeats", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    head, *rows = done.stdout.splitlines()
    assert head.startswith("ResNet-50, 52 layers, 23,445,504 weights, 2:4, blocks of 64")
    assert sum("WeightNormSparsifier" in row for row in rows) == 2
    assert rows[-1].split()[-1] == "1.0"
