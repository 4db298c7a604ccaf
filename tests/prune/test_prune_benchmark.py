"""The benchmarks of pruning run, and write what they say they write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
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


TINY = """
name: tiny
network: digits-resnet
data: digits
user_classes: 2
draws: 1
seeds: 2
baseline: blocks only
prune: {block: 16, samples_per_class: 10, train_epochs: 1, iterations: 1, ste_epochs: 1,
  iteration_epochs: 0, final_epochs: 1}
series:
  - name: dense, fine-tuned
    prune: {method: dense}
  - name: CRISP 2:4
    prune: {method: crisp, nm: "2:4"}
    sparsities: [0.7, 0.8]
  - name: blocks only
    prune: {method: blocks}
    sparsities: [0.7]
"""


@pytest.mark.slow
def test_accuracy_benchmark_goes_on_where_it_stopped(tmp_path: Path) -> None:
    protocol, out = tmp_path / "tiny.yaml", tmp_path / "out"
    protocol.write_text(TINY)
    command = [sys.executable, ROOT / "benchmarks" / "accuracy.py", protocol, "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    points = pd.read_csv(out / "points.csv")
    assert len(points) == 2 * (1 + 2 + 1)
    # Rows that are there are believed, those that are not are computed: the same ones again.
    marked = points.assign(seconds=-1.0)
    lost = marked.sample(3, random_state=0).index
    marked.drop(lost).to_csv(out / "points.csv", index=False)
    subprocess.run(command, check=True, capture_output=True)
    again = pd.read_csv(out / "points.csv")
    assert (again["seconds"] != -1.0).sum() == 3
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), points.drop(columns="seconds"))

    means = pd.read_csv(out / "means.csv").set_index(["series", "kappa"])
    rows = points[(points["series"] == "CRISP 2:4") & (points["kappa"] == 0.8)]
    mean = sum(100 * value for value in rows["test_top1"]) / 2
    assert means.loc[("CRISP 2:4", 0.8), "test_top1"] == pytest.approx(mean, abs=0.006)
    ours = points[(points["series"] == "CRISP 2:4") & (points["kappa"] == 0.7)]
    theirs = points[points["series"] == "blocks only"]
    gain = 100 * (ours["test_top1"].mean() - theirs["test_top1"].mean())
    assert f"| CRISP 2:4 | {gain:+.1f} +- " in (out / "pairs.md").read_text()
    assert (out / "accuracy.png").stat().st_size > 10_000
