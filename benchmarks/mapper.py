"""Compare this package's mapper with timeloop-mapper, layer by layer, on every design.

    python benchmarks/mapper.py --model resnet50 --seconds 120 --out mapper.csv

Both search the same mapspace, given by a design's dataflow, for the fewest cycles. What each finds
is priced by timeloop-model, with DSTC's lane quantisation on top. Layers that are one GEMM to a
design are searched once. Rows go to the file as they are found, and a second call goes on where the
first one stopped.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, Problem, load_accelerator, problem_for
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.gemm import dense
from crisp_loop.core.layers import roles
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Quiet
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import gemm_of
from crisp_loop.mapping.objective import OBJECTIVES
from crisp_loop.mapping.search import best_mapping
from crisp_loop.mapping.timeloop import timeloop_mapping
from crisp_loop.networks.trace import operation_table
from crisp_loop.render import spec_of
from crisp_loop.render.mapspace import MapperOptions
from crisp_loop.tools.programs import MAPPER, find_program, fingerprint


@dataclass(frozen=True)
class Row:
    """One GEMM on one design; ours first, then timeloop-mapper's."""

    design: str
    layer: str
    problem: str
    cycles: int
    energy_uJ: float
    seconds: float
    mapspace: int
    cycles_timeloop: int
    energy_timeloop_uJ: float
    seconds_timeloop: float


def problems(model: str, design: Accelerator, draw: Draw) -> dict[str, tuple[str, Problem]]:
    """The different problems of a network, by key, with the first layer of each."""
    table = operation_table(model)
    ends = roles(table)
    found: dict[str, tuple[str, Problem]] = {}
    for index, layer in enumerate(table.layers):
        weight = dense(layer.weights) if layer.name in ends else draw.counted(layer)
        gemm = gemm_of(layer, weight, 0.6 if index else 1.0)
        problem = problem_for(design, gemm)
        found.setdefault(problem.key, (layer.name, problem))
    return found


def priced(
    engine: Timeloop, design: Accelerator, problem: Problem, nest: LoopNest
) -> tuple[int, float]:
    """Cycles and microjoules by timeloop-model."""
    (said,) = engine.evaluate([spec_of(design, problem, nest)], Quiet())
    cycles = corrected_cycles(said.cycles, said.compute.cycles, problem.cycle_correction)
    return int(cycles), said.energy_uJ


def compare(
    engine: Timeloop, design: Accelerator, layer: str, problem: Problem, options: MapperOptions,
    seconds: float,
) -> Row:  # fmt: skip
    """Both mappers on one problem."""
    start = time.perf_counter()
    ours = best_mapping(design, problem, layer, OBJECTIVES["cycles"])
    middle = time.perf_counter()
    theirs = timeloop_mapping(design, problem, layer, seconds, options)
    end = time.perf_counter()
    cycles, energy = priced(engine, design, problem, ours.nest)
    cycles_theirs, energy_theirs = priced(engine, design, problem, theirs)
    return Row(
        design.name, layer, problem.key, cycles, energy, middle - start, ours.candidates,
        cycles_theirs, energy_theirs, end - middle,
    )  # fmt: skip


def read(path: Path) -> list[Row]:
    """The rows of an earlier call."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        kinds = {"int": int, "float": float, "str": str}
        cast = {field.name: kinds[str(field.type)] for field in fields(Row)}
        return [Row(**{k: cast[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--nm", default="2:4")
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--designs", default="dense,nvidia-stc,dstc,crisp-stc")
    parser.add_argument("--seconds", type=float, default=120, help="of timeloop-mapper, a layer")
    parser.add_argument("--threads", type=int, default=1, help="of timeloop-mapper")
    parser.add_argument("--out", type=Path, default=Path("mapper.csv"))
    options = parser.parse_args()

    draw = Draw(NM.parse(options.nm), options.block, options.sparsity)
    search = MapperOptions(threads=options.threads)
    engine = Timeloop(workers=1, store=None)
    rows = read(options.out)
    done = {(row.design, row.problem) for row in rows}
    new = not rows
    with options.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if new:
            writer.writeheader()
        for design in map(load_accelerator, options.designs.split(",")):
            for key, (layer, problem) in problems(options.model, design, draw).items():
                if (design.name, key) in done:
                    continue
                row = compare(engine, design, layer, problem, search, options.seconds)
                rows.append(row)
                writer.writerow(asdict(row))
                file.flush()
                print(
                    f"{row.design:12} {row.layer:24} {row.cycles:>9,} {row.energy_uJ:9.2f} uJ"
                    f" {row.seconds:6.2f} s | {row.cycles_timeloop:>9,}"
                    f" {row.energy_timeloop_uJ:9.2f} uJ {row.seconds_timeloop:6.1f} s",
                    flush=True,
                )
    fewer = [row for row in rows if row.cycles < row.cycles_timeloop]
    more = [row for row in rows if row.cycles > row.cycles_timeloop * 1.01]
    ratios = [row.cycles_timeloop / row.cycles for row in rows]
    peer = f"{MAPPER} {fingerprint(find_program(MAPPER))}"
    print(
        f"crisp_loop {__version__}, {peer}, Python {platform.python_version()}:"
        f" {len(rows)} problems, ours has fewer cycles on {len(fewer)}, more (by over 1 %) on"
        f" {len(more)}; timeloop-mapper's cycles over ours: median {statistics.median(ratios):.3f},"
        f" largest {max(ratios):.2f}; ours took {sum(row.seconds for row in rows):.1f} s in all,"
        f" timeloop-mapper {sum(row.seconds_timeloop for row in rows):.0f} s"
    )


if __name__ == "__main__":
    main()
