"""When a user's classes change: pruning anew from the personalised network beside from the dense.

    python benchmarks/reprune.py --jobs 2

On scikit-learn's digits: a network is pruned for five classes, then again for five others, of which
one is new, or all are; at the epochs of a first pruning (40), and at a fifth of them (8). Nine runs
each: three draws of classes and three seeds, a seed having its own split, training and shuffle.
Writes OUT/points.csv, a line a pruning, and OUT/means.md.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from crisp_loop.cli.console import Bars
from crisp_loop.core.files import replacing, write_text
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.reprune import Start, reprune
from crisp_loop.prune.run import prune_network

SHORT = {"iterations": 1, "ste_epochs": 2, "iteration_epochs": 2, "final_epochs": 4}
BUDGETS: dict[str, dict[str, int]] = {"40 epochs": {}, "8 epochs": SHORT}
CASES = ["change", "budget", "start"]


def classes_of(draw: int) -> dict[str, list[int]]:
    """A user's five classes before, and after each change."""
    order = np.random.default_rng(draw).permutation(10).tolist()
    return {"before": order[:5], "one class": order[1:6], "all classes": order[5:]}


def measure(draw: int, seed: int) -> list[dict[str, Any]]:
    """One first pruning, and all that follow it."""
    torch.set_num_threads(1)
    classes = classes_of(draw)
    config = PruneConfig(block=16, samples_per_class=20, upper_bound=False, seed=seed)

    def rows(folder: Path) -> Iterator[dict[str, Any]]:
        first = folder / "first"
        prune_network("digits-resnet", "digits", classes["before"], config, first)
        changes = [name for name in classes if name != "before"]
        for change, budget, start in itertools.product(changes, BUDGETS, get_args(Start)):
            out = folder / f"{change}-{budget}-{start}"
            report, summary = reprune(
                first, classes[change], out, start=start, options=BUDGETS[budget]
            )
            total = report.total
            yield {
                "change": change,
                "budget": budget,
                "start": start,
                "draw": draw,
                "seed": seed,
                "sparsity": summary.sparsity,
                "before_top1": report.before.test.top1,
                "after_top1": report.after.test.top1,
                "kept": total.kept / (total.kept + total.lost),
                "kept_by_chance": total.kept_by_chance / (total.kept + total.lost),
            }

    with tempfile.TemporaryDirectory() as folder:
        return list(rows(Path(folder)))


def markdown(points: pd.DataFrame) -> str:
    """Means and standard errors over draws and seeds, a line a case."""
    lines = [
        "| new | training | start | earlier network | pruned anew | mask kept | by chance |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case, rows in points.groupby(CASES, sort=False):
        mean, error = 100 * rows.mean(numeric_only=True), 100 * rows["after_top1"].sem()
        change, budget, start = case  # type: ignore[misc]
        lines.append(
            f"| {change} | {budget} | {start} | {mean['before_top1']:.1f} %"
            f" | {mean['after_top1']:.1f} +- {error:.1f} % | {mean['kept']:.1f} %"
            f" | {mean['kept_by_chance']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/reprune"), help="[runs/reprune]")
    parser.add_argument("--draws", type=int, default=3, help="draws of classes [3]")
    parser.add_argument("--seeds", type=int, default=3, help="seeds [3]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each [1]")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        cases = itertools.product(range(options.draws), range(options.seeds))
        work = [pool.submit(measure, draw, seed) for draw, seed in cases]
        for done in Bars().track(as_completed(work), "Users", len(work)):
            rows += done.result()
    points = pd.DataFrame(rows).sort_values([*CASES, "draw", "seed"], ignore_index=True)
    with replacing(options.out / "points.csv") as temporary:
        points.to_csv(temporary, index=False)
    table = markdown(points)
    write_text(options.out / "means.md", table)
    print(table)


if __name__ == "__main__":
    main()
