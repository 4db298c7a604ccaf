"""The benchmark of packing runs, checks what it times, and prints its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_formats_benchmark_prints_every_row() -> None:
    options = ["--model", "resnet20", "--block", "16", "--sparsity", "0.8", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "formats.py", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    head, _, *rows = done.stdout.splitlines()
    assert head.startswith("resnet20, 20 layers, 269,824 weights, 2:4, blocks of 16, kappa 0.8")
    assert [row[:40].split(",")[0].strip() for row in rows[:7]] == [
        "crisp_loop", "torch", "scipy", "crisp_loop", "crisp_loop", "torch", "scipy",
    ]  # fmt: skip
    assert all("there and back" in row for row in rows[-3:])
    assert rows[8].split()[-1] == "1.0"
    assert all(float(row[40:].split()[0]) > 0 for row in rows)
