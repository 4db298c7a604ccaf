"""Accuracy against sparsity: CRISP beside its baselines, over draws of user classes and seeds.

    python benchmarks/accuracy.py benchmarks/accuracy-digits.yaml --jobs 2
    python benchmarks/accuracy.py benchmarks/accuracy-cifar10.yaml --data folder:cifar10.zip

For every seed one dense network is trained on all classes; for every draw of user classes it is
fine-tuned dense (the upper bound) and pruned by each method at each sparsity. All methods see the
same samples for the same number of epochs at the same learning rates. Accuracy is ``top1`` over
all outputs of the network, on a test split that neither training nor any choice has seen.

Writes OUT/points.csv, a line a point as soon as it is known; points that are there already are not
computed again. Then OUT/means.csv, OUT/means.md, OUT/pairs.md (differences from a baseline, run by
run) and OUT/accuracy.png from all of them.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from crisp_loop.cli.console import Bars
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_yaml, replacing, validated, write_text
from crisp_loop.core.progress import Quiet
from crisp_loop.datasets.split import Dataset
from crisp_loop.prune.config import PruneConfig
from crisp_loop.reproduce.points import Point, Start, prune_point


class Series(BaseModel):
    """One line of the figure."""

    model_config = ConfigDict(extra="forbid")

    name: str
    prune: dict[str, Any]
    """Options that set this method apart."""
    sparsities: list[float] = []
    patterns: list[str] = []
    """N:M patterns instead, whose sparsity is 1 - N/M."""

    def points(self) -> list[dict[str, Any]]:
        """The options of every point."""
        points = [self.prune | {"sparsity": value} for value in self.sparsities]
        points += [self.prune | {"nm": pattern} for pattern in self.patterns]
        return points or [self.prune]


class Protocol(BaseModel):
    """What is compared, and how."""

    model_config = ConfigDict(extra="forbid")

    name: str
    network: str
    data: str
    user_classes: int
    """How many classes a user meets."""
    draws: int
    """Draws of user classes."""
    seeds: int
    """Each with its own split of the data, dense training, samples and shuffle."""
    prune: dict[str, Any] = {}
    """Options of all methods."""
    series: list[Series]
    baseline: str
    """The series that the others are compared with, run by run."""


class Run(BaseModel):
    """One pruned network to be."""

    model_config = ConfigDict(frozen=True)

    series: str
    options: dict[str, Any]
    draw: int
    seed: int

    @property
    def key(self) -> tuple[str, str, float, int, int]:
        """What tells it from other runs in the table."""
        config = PruneConfig.model_validate(self.options)
        return self.series, str(config.nm), config.sparsity, self.draw, self.seed


KEY = ["series", "nm", "kappa", "draw", "seed"]


def point_of(protocol: Protocol, run: Run) -> Point:
    """What the package measures for a run."""
    return Point(
        network=protocol.network,
        data=protocol.data,
        user_classes=protocol.user_classes,
        draw=run.draw,
        config=PruneConfig.model_validate(run.options),
    )


@functools.lru_cache(maxsize=1)
def started(start: str, out: Path) -> tuple[Dataset, torch.nn.Module]:
    """Data and trained network of a ``Start``, as JSON; trained once and kept in ``out``."""
    torch.set_num_threads(1)
    return Start.model_validate_json(start).trained(out, Quiet())


def train_dense(protocol: Protocol, run: Run, out: Path) -> int:
    """Train the network that a run starts from."""
    started(point_of(protocol, run).start.model_dump_json(), out)
    return run.seed


def measure(protocol: Protocol, run: Run, out: Path) -> dict[str, Any]:
    """Prune one network and measure it."""
    point = point_of(protocol, run)
    found, _ = prune_point(point, *started(point.start.model_dump_json(), out))
    if found.left_out:
        raise CrispLoopError(found.left_out)
    return {
        **dict(zip(KEY, run.key, strict=True)),
        "classes": " ".join(map(str, found.classes)),
        **found.model_dump(exclude={"classes", "left_out", "flops_ratio", "seconds"}),
        "seconds": round(found.seconds, 1),
    }


def all_runs(protocol: Protocol) -> list[Run]:
    """Every run, seed by seed, so that a process rarely changes its data."""
    return [
        Run(series=series.name, options=protocol.prune | options | {"seed": seed}, draw=draw,
            seed=seed)
        for seed in range(protocol.seeds)
        for draw in range(protocol.draws)
        for series in protocol.series
        for options in series.points()
    ]  # fmt: skip


def sweep(protocol: Protocol, out: Path, jobs: int) -> pd.DataFrame:
    """Compute the points that ``out/points.csv`` does not hold yet; returns all of them."""
    file = out / "points.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=pd.Index(KEY))
    known = {tuple(row) for row in table[KEY].itertuples(index=False)}
    todo = [run for run in all_runs(protocol) if run.key not in known]
    bars = Bars()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        first = {run.seed: run for run in reversed(todo)}
        trainings = [pool.submit(train_dense, protocol, run, out) for run in first.values()]
        for done in bars.track(as_completed(trainings), "Dense networks", len(trainings)):
            done.result()
        work = [pool.submit(measure, protocol, run, out) for run in todo]
        for done in bars.track(as_completed(work), "Pruned networks", len(work)):
            row = pd.DataFrame([done.result()])
            table = row if table.empty else pd.concat([table, row], ignore_index=True)
            write_csv(table.sort_values(KEY, ignore_index=True), file)
    return table.sort_values(KEY, ignore_index=True)


def means(points: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over draws and seeds, in percent."""
    groups = points.groupby(["series", "nm", "kappa"], sort=False)
    table = groups.agg(
        sparsity=("sparsity", "mean"),
        macs_ratio=("macs_ratio", "mean"),
        runs=("test_top1", "size"),
        test_top1=("test_top1", "mean"),
        standard_error=("test_top1", "sem"),
        worst=("test_top1", "min"),
        seconds=("seconds", "mean"),
    ).reset_index()
    percent = ["sparsity", "macs_ratio", "test_top1", "standard_error", "worst"]
    table[percent] = (100 * table[percent]).round(2)
    table["seconds"] = table["seconds"].round(1)
    return table.sort_values(["series", "kappa"], ignore_index=True)


def figure(protocol: Protocol, table: pd.DataFrame, path: Path) -> None:
    """Mean accuracy over sparsity, a line a method, with standard errors."""
    picture = Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.subplots()
    # Markers too, for who cannot tell the colours apart.
    for series, marker in zip(protocol.series, itertools.cycle("osD^vPX*"), strict=False):
        rows = table[table["series"] == series.name]
        if (rows["kappa"] == 0).all():
            axes.axhline(rows["test_top1"].item(), color="grey", ls="--", label=series.name)
            continue
        axes.errorbar(
            rows["sparsity"], rows["test_top1"], rows["standard_error"],
            marker=marker, ms=5, capsize=3, label=series.name,
        )  # fmt: skip
    axes.set_xlabel("sparsity of the prunable layers (%)")
    axes.set_ylabel("test accuracy on the user's classes (%)")
    axes.set_title(f"{protocol.network}, {protocol.name}: {protocol.user_classes} user classes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with replacing(path) as temporary:
        picture.savefig(temporary, dpi=150, format="png")


def markdown(table: pd.DataFrame) -> str:
    """The means as a table of Markdown, a line a point."""
    lines = [
        "| method | kappa | sparsity | kept MACs | test accuracy | worst of all |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in table.to_dict("records"):
        pattern = f" ({row['nm']})" if row["series"] == "N:M only" else ""
        accuracy = f"{row['test_top1']:.1f} +- {row['standard_error']:.1f} %"
        lines.append(
            f"| {row['series']}{pattern} | {row['kappa']:g} | {row['sparsity']:.1f} %"
            f" | {row['macs_ratio']:.1f} % | {accuracy} | {row['worst']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def pairs(protocol: Protocol, points: pd.DataFrame) -> str:
    """Percentage points above the baseline at the same kappa, run by run, as Markdown.

    A run has one network, draw of classes and split of the data for all methods, so differences of
    runs vary less than the runs themselves do.
    """
    runs = points.set_index(["kappa", "draw", "seed", "series"])["test_top1"].unstack()
    gains = 100 * runs.dropna(subset=protocol.baseline)
    gains = gains.sub(gains.pop(protocol.baseline), axis=0).dropna(axis=1, how="all")
    kappas = sorted(gains.index.get_level_values("kappa").unique())
    lines = [
        f"| kappa | {' | '.join(f'{kappa:g}' for kappa in kappas)} |",
        f"| --- |{' ---: |' * len(kappas)}",
    ]
    for series in protocol.series:
        if series.name in gains:
            cells = [
                _gain(gains[series.name].xs(kappa, level="kappa").dropna()) for kappa in kappas
            ]
            lines.append(f"| {series.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _gain(runs: pd.Series) -> str:
    if runs.empty:
        return ""
    return f"{runs.mean():+.1f} +- {runs.sem():.1f} ({(runs > 0).sum()} of {len(runs)})"


def write_csv(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", type=Path, help="YAML file, such as accuracy-digits.yaml")
    parser.add_argument("--data", help="another data set than the protocol's")
    parser.add_argument("--out", type=Path, help="results directory [runs/accuracy-NAME]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each [1]")
    options = parser.parse_args()
    given = read_yaml(options.protocol, "protocol")
    protocol = validated(given, Protocol, options.protocol)
    if options.data:
        protocol = protocol.model_copy(update={"data": options.data})
    out = options.out or Path("runs") / f"accuracy-{protocol.name}"
    points = sweep(protocol, out, options.jobs)
    table = means(points)
    write_csv(table, out / "means.csv")
    write_text(out / "means.md", markdown(table))
    write_text(out / "pairs.md", pairs(protocol, points))
    figure(protocol, table, out / "accuracy.png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
