"""How fast sweeps go: points a second against their number and that of processes.

    python benchmarks/sweep.py --points 10000,100000,1000000 --workers 1,2,4 --out sweep.csv

The sweep is ResNet-50, VGG-16 and MobileNetV2 under nine patterns on four designs with bandwidths
changed, priced by the analytic engine. Its mappings ship (sparsity 0.9) and are kept, so that it
measures pricing: a search takes 0.1 to 0.5 s of a core for each different GEMM on top.
Every run is a process of its own, so that memory and processor time are its own. Rows go to the
file as they come.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from crisp_loop import __version__
from crisp_loop.sweep import Sweep, SweepOptions, run_sweep
from crisp_loop.sweep.dataset import Dataset

SETTINGS = {
    "network": ["resnet50", "vgg16", "mobilenetv2"],
    "nm": ["1:4", "2:4", "3:4"],
    "block": [16, 32, 64],
    "sparsity": 0.9,
}
DESIGNS = ["dense", "nvidia-stc", "dstc", "crisp-stc"]
AXES = ("DRAM.read_bandwidth", "SMEM.read_bandwidth", "SMEM.write_bandwidth")
BASE = 27 * len(DESIGNS)
"""Points without changes of the designs."""


@dataclass(frozen=True)
class Row:
    """One run."""

    points: int
    workers: int
    layers: bool
    wall_s: float
    processor_s: float
    """Of the coordinator and all processes below it, imports included."""
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


class Descendants(threading.Thread):
    """Watches what the processes below this one use: a server, and the workers that it forks.

    They are not waited for by this process, so their usage is read while they live.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.processor_s: dict[int, float] = {}
        self.memory_MB: dict[int, float] = {}

    def run(self) -> None:
        while not self.over.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    self.processor_s[process.pid] = times.user + times.system
                    held = process.memory_info().rss / 2**20
                    self.memory_MB[process.pid] = max(held, self.memory_MB.get(process.pid, 0.0))


def measured(sweep: dict[str, Any], workers: int, answer: Any) -> None:
    """Run a sweep in this process, and say what it took."""
    out = Path(tempfile.mkdtemp(prefix="crisp_loop-sweep-")) / "out"
    try:
        below = Descendants()
        below.start()
        start = time.monotonic()
        summary = run_sweep(Sweep.model_validate(sweep), out, SweepOptions(workers))
        wall = time.monotonic() - start
        below.over.set()
        own = resource.getrusage(resource.RUSAGE_SELF)
        assert summary.priced == summary.points
        assert not summary.failed, summary.failures
        files = list(out.rglob("*.parquet"))
        coordinator = own.ru_utime + own.ru_stime
        total = coordinator + sum(below.processor_s.values())
        row = Row(
            points=summary.points,
            workers=workers,
            layers=sweep["layers"],
            wall_s=round(wall, 1),
            processor_s=round(total, 1),
            coordinator_s=round(coordinator, 1),
            points_per_s=round(summary.points / wall, 1),
            points_per_processor_s=round(summary.points / total, 1),
            coordinator_MB=round(own.ru_maxrss / 1024, 1),
            worker_MB=round(max(below.memory_MB.values()), 1),
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
    parser.add_argument("--out", type=Path, default=Path("sweep.csv"))
    told = parser.parse_args()
    shared = {
        "experiment": {"masks": "draw", "engine": "analytic"},
        "mappings": "keep",
        "layers": told.layers,
    }
    print(f"crisp_loop {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as store, told.out.open("a", newline="") as file:
        os.environ["CRISP_LOOP_CACHE"] = store
        table = csv.DictWriter(file, [each.name for each in fields(Row)])
        if not told.out.stat().st_size:
            table.writeheader()
        for points in map(int, told.points.split(",")):
            for workers in map(int, told.workers.split(",")):
                row = run({"grid": grid(points), **shared}, workers)
                table.writerow(row)
                file.flush()
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
