"""Speed of the analytic engine beside timeloop-model, and how its cost grows.

    python benchmarks/engine.py [--specs tests/golden/rendered] [--repeats 9] [--out engine]

One spec of each design, as rendered for a layer of ResNet-50: timeloop-model on it, the
engine on files (reading them included), and on specs in memory, ten in a row, in turn at every
repeat. Each spec is one whose contents nobody has seen: another bound, another factor. A design's
own sections repeat, as they do from layer to layer, and the engine may know them; what the first of
all specs costs is measured in a process of its own.
Then ``evaluate_specs`` on ResNet-50's layers at one pattern and at nine, ``evaluate_mappings`` on 1
to 100,000 mappings, and the growth with layers (specs of the directory,
one after the other) and with storage levels. Times are the processor's, of this process
and the ones it starts, so that others on the machine do not count: medians with the fastest and the
slowest; of batches, microseconds a mapping. Without timeloop-model on PATH its columns are empty.
Writes ``OUT.png`` and ``OUT.svg``.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import crisp_loop
from crisp_loop.accelerators import Accelerator, load_accelerator, problem_for
from crisp_loop.core.figures import GRID, PALETTE, STYLE, save_figure
from crisp_loop.core.files import dump_yaml, parse_yaml
from crisp_loop.core.gemm import Gemm, WeightSparsity, dense
from crisp_loop.core.layers import roles
from crisp_loop.core.loops import DIMENSIONS, LoopNest, Loops
from crisp_loop.core.pattern import NM
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import gemm_of
from crisp_loop.mapping.library import shipped_mappings
from crisp_loop.networks.trace import layer_table
from crisp_loop.render import render_spec, spec_of
from crisp_loop.sparseloop import evaluate, evaluate_mappings, evaluate_specs

DESIGNS = {
    "dense": "r50-dense-layer3.4.conv1",
    "nvidia-stc": "r50-nvidia-stc-layer2.0.conv2",
    "crisp-stc": "r50-crisp-stc-layer3.5.conv2",
    "dstc": "r50-dstc-layer3.4.conv2",
    "s2ta": "resnet50-2of4-64-s2ta-layer3.1.conv2",
}
PATTERNS = [
    Draw(NM.parse(nm), block, 0.9) for nm in ("1:4", "2:4", "3:4") for block in (16, 32, 64)
]
FRESH = 10
"""New specs a repeat."""
BATCHES = (1, 10, 100, 1000, 10_000, 100_000)
Times = dict[str, list[float]]
Slots = dict[tuple[str, str], dict[str, Any]]


def timed(step: Callable[[], object]) -> float:
    """Seconds of the processor."""
    start = processor()
    step()
    return processor() - start


def processor() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def interleaved(steps: dict[str, Callable[[], object]], repeats: int) -> Times:
    """Seconds of every step, each in turn at every repeat; a first round warms up."""
    times: Times = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            times[name].append(timed(step))
    return {name: seconds[1:] for name, seconds in times.items()}


def timeloop(spec: Spec, scratch: Path) -> Callable[[], object] | None:
    """A run of timeloop-model on the spec, if it is on PATH."""
    binary = shutil.which("timeloop-model")
    if binary is None:
        return None
    file = scratch / f"{len(list(scratch.iterdir()))}.yaml"
    file.write_text(dump_yaml(spec.sections), encoding="utf-8")
    command = [binary, str(file), "-o", str(scratch)]
    return lambda: subprocess.run(command, cwd=scratch, capture_output=True, check=True)


def loops_of(spec: Spec) -> Slots:
    """(target, kind) to dimension to factor."""
    return {
        (each["target"], each["type"]): {
            word.split("=")[0]: int(word.split("=")[1]) for word in each["factors"].split()
        }
        for each in spec.sections["mapping"]
        if "factors" in each
    }


def mappings(spec: Spec, count: int, rng: np.random.Generator) -> Slots:
    """Legal factors, drawn: the temporal factors of each dimension, dealt out anew."""
    slots = loops_of(spec)
    pool = {slot: {dim: np.ones(4096, np.int64) for dim in dims} for slot, dims in slots.items()}
    for dim in DIMENSIONS:
        places = [slot for slot, dims in slots.items() if slot[1] == "temporal" and dims[dim] > 1]
        for slot, dims in slots.items():
            if slot not in places:
                pool[slot][dim][:] = dims[dim]
        left, prime = math.prod(slots[slot][dim] for slot in places), 2
        while left > 1:
            while left % prime == 0:
                chosen = rng.integers(len(places), size=4096)
                for at, slot in enumerate(places):
                    pool[slot][dim] *= np.where(chosen == at, prime, 1)
                left //= prime
            prime += 1
    legal = evaluate_mappings(spec, pool).legal.nonzero()[0]
    rows = rng.choice(legal, count)
    return {
        slot: {dim: values[rows] for dim, values in dims.items()} for slot, dims in pool.items()
    }


def hierarchy(levels: int) -> Accelerator:
    """CRISP-STC's offsets on one multiplier below storage levels that keep all tensors."""
    data = load_accelerator("crisp-stc").model_dump()
    names = ["DRAM", *(f"L{depth}" for depth in range(1, levels))]
    dram, smem = data["levels"][:2]
    sram = {
        **smem,
        "depth": 65536,
        "metadata": {"depth": 65536, "width": 48},
        "keep": ("A", "B", "Z"),
    }
    data["levels"] = [dram, *({**sram, "name": name} for name in names[1:])]
    data["tree"] = [{"name": "system", "holds": (*names, "MAC")}]
    data["compute"] |= {"mesh": (1, 1), "count": 1}
    order = "NKMQR"
    data["dataflow"] = [
        {"level": name, "kind": "temporal", "dims": dict.fromkeys(DIMENSIONS), "orders": (order,)}
        for name in names
    ]
    mode = copy.deepcopy(data["modes"][1])
    mode["lanes_hold_candidates"] = False
    mode["formats"] = [{"tensor": "A", "levels": tuple(names), "rule": "offsets"}]
    mode["actions"] = [
        {"level": names[-1], "type": "skipping", "target": each, "condition_on": ("A",)}
        for each in "BZ"
    ]
    data["modes"] = [mode, data["modes"][2]]
    return Accelerator.model_validate(data)


def deep_spec(levels: int) -> Spec:
    """A 2:4 GEMM whose loops are spread over all levels."""
    design = hierarchy(levels)
    nm = NM(2, 4)
    size = 2**levels * 4
    gemm = Gemm("deep", 1, size, size, size, WeightSparsity("nm", size**2 // 2, 0.5, nm))
    factors = {dim: 2 if dim in "MNK" else 1 for dim in DIMENSIONS}
    nest = LoopNest(
        tuple(
            Loops(
                slot.level,
                "temporal",
                {
                    dim: factor * (4 if at == 0 and factor > 1 else 1)
                    for dim, factor in factors.items()
                },
                slot.orders[0],
            )
            for at, slot in enumerate(design.dataflow)
        )
    )
    sections: dict[str, Any] = {}
    for file, text in render_spec(design, problem_for(design, gemm), nest).items():
        sections |= parse_yaml(text, file)
    return Spec(f"{levels} levels", sections)


def shown(seconds: list[float], scale: float = 1e3) -> str:
    """Median (fastest to slowest)."""
    median, low, high = statistics.median(seconds), min(seconds), max(seconds)
    return f"{median * scale:.3g} ({low * scale:.3g}-{high * scale:.3g})"


def fresh(text: str, times: int) -> str:
    """A spec's text with so many times the iterations of a loop over DRAM's tiles.

    It is a loop that iterates already, so the mapping stays as legal as it was.
    """
    (factors,) = re.findall(r"target: DRAM\n *type: temporal\n *factors: (.*)\n", text)
    dim, factor = next(word.split("=") for word in factors.split() if word[2:] != "1")
    more = factors.replace(f"{dim}={factor}", f"{dim}={int(factor) * times}")
    ((line, bound),) = re.findall(rf"(\n    {dim}: (\d+)\n)", text)
    return text.replace(factors, more, 1).replace(line, f"\n    {dim}: {int(bound) * times}\n")


def first_seconds(path: Path) -> float:
    """Seconds of the first spec in a process that has just imported the engine."""
    script = (
        "import sys, time; from pathlib import Path; from crisp_loop.core.spec import load_spec;"
        " from crisp_loop.sparseloop import evaluate; start = time.process_time();"
        " evaluate(load_spec(Path(sys.argv[1]))); print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True)
    return float(done.stdout)


def single(specs: dict[str, Path], repeats: int, scratch: Path) -> dict[str, float]:
    """The table of one spec at a time; the median of timeloop-model by design."""
    columns = ["timeloop-model, ms", "first file, ms", "file, ms", "x", "spec in memory, ms", "x"]
    print("\n| design | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    theirs: dict[str, float] = {}
    numbers = itertools.count(2)
    for name, path in specs.items():
        text = path.read_text(encoding="utf-8")
        times: Times = {"timeloop": [], "first": [], "file": [], "spec": []}
        for repeat in range(repeats + 1):
            files = [scratch / f"new{number}.yaml" for number in range(2 * FRESH)]
            for file in files:
                file.write_text(fresh(text, next(numbers)), encoding="utf-8")
            seen = [load_spec(file) for file in files[:FRESH]]
            times["spec"] += [timed(lambda spec=spec: evaluate(spec)) for spec in seen]
            times["file"] += [
                timed(lambda file=file: evaluate(load_spec(file))) for file in files[FRESH:]
            ]
            times["first"].append(first_seconds(files[0]))
            peer = timeloop(seen[-1], scratch)
            times["timeloop"].append(timed(peer) if peer else math.nan)
            if not repeat:  # it warmed up
                times = {step: [] for step in times}
        theirs[name] = statistics.median(times["timeloop"])
        cells = [name, "" if math.isnan(theirs[name]) else shown(times["timeloop"])]
        cells.append(shown(times["first"]))
        for step in ("file", "spec"):
            ratio = theirs[name] / statistics.median(times[step])
            cells += [shown(times[step]), f"{ratio:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    return theirs


def batches(
    specs: dict[str, Path], repeats: int, theirs: dict[str, float]
) -> dict[str, list[float]]:
    """The table of many mappings; median seconds a mapping by design, in the order of BATCHES."""
    print("\n| us a mapping | " + " | ".join(f"{size:,}" for size in BATCHES) + " | x at best |")
    print("| --- |" + " ---: |" * (len(BATCHES) + 1))
    found: dict[str, list[float]] = {}
    for name, path in specs.items():
        spec, rng = load_spec(path), np.random.default_rng(0)
        all_of = {size: mappings(spec, size, rng) for size in BATCHES}
        steps: dict[str, Callable[[], object]] = {
            str(size): lambda factors=factors, spec=spec: evaluate_mappings(spec, factors)
            for size, factors in all_of.items()
        }
        times = interleaved(steps, max(3, repeats // 3))
        found[name] = [statistics.median(times[str(size)]) / size for size in BATCHES]
        cells = [shown(times[str(size)], 1e6 / size) for size in BATCHES]
        best = theirs[name] / min(found[name])
        print(f"| {name} | " + " | ".join(cells) + f" | {best:,.0f} |", flush=True)
    return found


def network(design: Accelerator, draws: Sequence[Draw]) -> list[Spec]:
    """The specs of ResNet-50's layers at some patterns, with their shipped mappings."""
    library = shipped_mappings(design)
    assert library is not None
    table = layer_table("resnet50")
    ends = roles(table)
    specs = []
    for draw in draws:
        for index, layer in enumerate(table.layers):
            weight = dense(layer.weights) if layer.name in ends else draw.counted(layer)
            gemm = gemm_of(layer, weight, 0.6 if index else 1.0)
            problem = problem_for(design, gemm)
            nest = library.nest(problem.key)
            assert nest is not None
            specs.append(spec_of(design, problem, nest, f"{draw.nm} {draw.block} {layer.name}"))
    return specs


def together(repeats: int, theirs: dict[str, float]) -> None:
    """The table of a network's specs, those alike analysed together."""
    print("\n| ms a spec | 54 specs | x | 486 specs | x |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in DESIGNS:
        design = load_accelerator(name)
        groups = [network(design, PATTERNS[4:5]), network(design, PATTERNS)]
        steps: dict[str, Callable[[], object]] = {
            str(len(specs)): lambda specs=specs: list(evaluate_specs(specs)) for specs in groups
        }
        times = interleaved(steps, max(3, repeats // 3))
        cells = [name]
        for size, seconds in times.items():
            each = [one / int(size) for one in seconds]
            cells += [shown(each), f"{theirs[name] / statistics.median(each):.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def growth(
    what: str, groups: dict[int, list[Spec]], repeats: int, scratch: Path
) -> tuple[list[float], list[float]]:
    """The table of specs that grow; medians in seconds of the engine and of timeloop-model."""
    print(f"\n| {what} | engine, ms | timeloop-model, ms |")
    print("| ---: | ---: | ---: |")
    ours, theirs = [], []
    for size, specs in groups.items():
        steps: dict[str, Callable[[], object]] = {
            "engine": lambda specs=specs: [evaluate(spec) for spec in specs]
        }
        peers = [timeloop(spec, scratch) for spec in specs]
        if all(peers):
            steps["timeloop"] = lambda peers=peers: [peer() for peer in peers if peer]
        times = interleaved(steps, max(3, repeats // 3))
        ours.append(statistics.median(times["engine"]))
        theirs.append(statistics.median(times["timeloop"]) if all(peers) else math.nan)
        peer_cell = shown(times["timeloop"]) if all(peers) else ""
        print(f"| {size} | {shown(times['engine'])} | {peer_cell} |", flush=True)
    return ours, theirs


def figure(
    theirs: dict[str, float],
    by_batch: dict[str, list[float]],
    growths: dict[str, tuple[list[int], list[float], list[float]]],
) -> Figure:
    """Three panels: cost a mapping over the batch, and of one spec over layers and levels."""
    picture = Figure(figsize=(10, 3.4), layout="constrained")
    panels = picture.subplots(1, 3)
    for (name, seconds), colour, marker in zip(by_batch.items(), PALETTE, "osD^v", strict=False):
        microseconds = [each * 1e6 for each in seconds]
        panels[0].plot(BATCHES, microseconds, marker=marker, color=colour, label=name, ms=4)
    peer = statistics.median(theirs.values())
    if not math.isnan(peer):
        panels[0].axhline(peer * 1e6, color=PALETTE[-1], ls="--", label="timeloop-model")
    panels[0].set(xscale="log", yscale="log", xlabel="mappings in a batch", ylabel="us a mapping")
    for panel, (what, (sizes, ours, peers)) in zip(panels[1:], growths.items(), strict=True):
        panel.plot(sizes, [each * 1e3 for each in ours], "o-", color=PALETTE[5], label="engine")
        panel.plot(
            sizes, [s * 1e3 for s in peers], "s--", color=PALETTE[-1], label="timeloop-model"
        )
        panel.set(yscale="log", xlabel=what, ylabel="ms")
    for panel in panels:
        panel.grid(color=GRID)
        panel.legend(fontsize="small")
    return picture


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specs", type=Path, default=Path("tests/golden/rendered"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("engine"), help="figures, without ending")
    options = parser.parse_args()
    print(
        f"crisp_loop {crisp_loop.__version__}, Python {platform.python_version()}, numpy"
        f" {np.__version__}, {platform.machine()}, {os.cpu_count()} cores; processor time,"
        f" median (fastest-slowest) of {options.repeats}"
    )
    specs = {name: options.specs / f"{file}.yaml" for name, file in DESIGNS.items()}
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        theirs = single(specs, options.repeats, scratch)
        together(options.repeats, theirs)
        by_batch = batches(specs, options.repeats, theirs)
        layers = [load_spec(path) for path in sorted(options.specs.glob("*.yaml"))]
        sizes = [size for size in (1, 2, 5, 10, 20, 50) if size <= len(layers)]
        over_layers = {size: layers[:: len(layers) // size][:size] for size in sizes}
        over_levels = {levels: [deep_spec(levels)] for levels in range(2, 7)}
        growths = {
            "layers": (sizes, *growth("layers", over_layers, options.repeats, scratch)),
            "storage levels": (
                list(over_levels),
                *growth("storage levels", over_levels, options.repeats, scratch),
            ),
        }
    with rc_context(STYLE):
        picture = figure(theirs, by_batch, growths)
        save_figure(picture, [Path(f"{options.out}.{kind}") for kind in ("png", "svg")])


if __name__ == "__main__":
    main()
