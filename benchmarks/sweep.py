"""How fast sweeps go: points a second against their number and that of processes.

    python benchmarks/sweep.py --points 10000,100000,1000000 --workers 1,2,4 --out sweep.csv

The sweep is ResNet-50 under 16 patterns on four designs with bandwidths changed, priced by the
analytic engine with kept mappings; its mappings are searched before, and their time is told apart.
Every run is a process of its own, so that memory and processor time are its own. Rows go to the
file as they come.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crisp_loop import __version__
from crisp_loop.sweep import Sweep, SweepOptions, run_sweep
from crisp_loop.sweep.dataset import Dataset

SETTINGS = {
    "nm": ["1:4", "2:4"],
    "block": 64,
    "sparsity": [0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94],
}
DESIGNS = ["dense", "nvidia-stc", "dstc", "crisp-stc"]
AXES = ("DRAM.read_bandwidth", "SMEM.read_bandwidth", "SMEM.write_bandwidth")
BASE = len(SETTINGS["nm"]) * len(SETTINGS["sparsity"]) * len(DESIGNS)
"""Points without changes of the designs."""


@dataclass(frozen=True)
class Row:
    """One run."""

    what: str
    points: int
    workers: int
    layers: bool
    wall_s: float
    processor_s: float
    """Of the coordinator and its workers, user and system."""
    coordinator_s: float
    """Of the coordinator alone."""
    points_per_s: float
    points_per_processor_s: float
    coordinator_MB: float
    """Most memory that the coordinator held."""
    worker_MB: float
    """Most memory that one worker held."""
    parts: int
    results_MB: float
    load: float
    """Processes that wanted to run on this machine, on average over the last minute."""


def grid(points: int) -> dict[str, Any]:
    """A grid of about that many points, by as many values of each bandwidth."""
    side = max(1, round((points / BASE) ** (1 / len(AXES))))
    values = [round(8 + 56 * index / side, 3) for index in range(side)]
    return {**SETTINGS, "accelerator": DESIGNS, "arch": dict.fromkeys(AXES, values)}


def measured(sweep: dict[str, Any], workers: int, answer: Any) -> None:
    """Run a sweep in this process, and say what it took."""
    out = Path(tempfile.mkdtemp(prefix="crisp_loop-sweep-")) / "out"
    try:
        start = time.monotonic()
        summary = run_sweep(Sweep.model_validate(sweep), out, SweepOptions(workers))
        wall = time.monotonic() - start
        own, others = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        assert summary.priced == summary.points
        assert not summary.failed, summary.failures
        files = list(out.rglob("*.parquet"))
        coordinator = own.ru_utime + own.ru_stime
        total = coordinator + others.ru_utime + others.ru_stime
        row = Row(
            what=sweep["name"],
            points=summary.points,
            workers=workers,
            layers=sweep["layers"],
            wall_s=round(wall, 1),
            processor_s=round(total, 1),
            coordinator_s=round(coordinator, 1),
            points_per_s=round(summary.points / wall, 1),
            points_per_processor_s=round(summary.points / total, 1),
            coordinator_MB=round(own.ru_maxrss / 1024, 1),
            worker_MB=round(others.ru_maxrss / 1024, 1),
            parts=len(Dataset(out).parts()),
            results_MB=round(sum(file.stat().st_size for file in files) / 1e6, 2),
            load=round(os.getloadavg()[0], 2),
        )
        answer.send(asdict(row))
    finally:
        shutil.rmtree(out.parent)


def run(sweep: dict[str, Any], workers: int) -> dict[str, Any]:
    """:func:`measured`, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measured, args=(sweep, workers, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Points a second of a sweep.")
    parser.add_argument("--points", default="10000,100000")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--layers", action="store_true", help="keep every layer of every point")
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--out", type=Path, default=Path("sweep.csv"))
    told = parser.parse_args()
    shared = {
        "experiment": {"network": told.network, "masks": "draw", "engine": "analytic"},
        "mappings": "keep",
        "layers": told.layers,
    }
    print(f"crisp_loop {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as store, told.out.open("a", newline="") as file:
        os.environ["CRISP_LOOP_CACHE"] = os.environ.get("CRISP_LOOP_CACHE", store)
        table = csv.DictWriter(file, [each.name for each in fields(Row)])
        if not told.out.stat().st_size:
            table.writeheader()
        jobs = [({"name": "search", "grid": {**SETTINGS, "accelerator": DESIGNS}, **shared}, 1)]
        jobs += [
            ({"name": "price", "grid": grid(int(points)), **shared}, int(workers))
            for points in told.points.split(",")
            for workers in told.workers.split(",")
        ]
        for sweep, workers in jobs:
            row = run(sweep, workers)
            table.writerow(row)
            file.flush()
            print(json.dumps(row))


if __name__ == "__main__":
    main()
