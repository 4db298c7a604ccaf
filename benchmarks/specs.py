"""Render specs of many layers on every design and pattern, and ask timeloop-model for a sample.

    python benchmarks/specs.py --layers DIR_OR_FILE ... --sample 500 --out sample.csv

Layers are those of the registered networks and of the files given (Timeloop's public layer shapes,
for example). Every (layer, design, pattern) is rendered: with its shipped mapping where there is
one, else with a random one that fits. The sample is priced by both engines and compared.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem, available, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.layers import Layer
from crisp_loop.core.mappings import MappingFile
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.preflight import check_spec
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.layers import read_layers
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import gemm_of
from crisp_loop.mapping.bounds import fitting
from crisp_loop.mapping.library import shipped_mappings
from crisp_loop.mapping.space import mapspace
from crisp_loop.networks.trace import operation_table
from crisp_loop.render import spec_of
from crisp_loop.sparseloop import IllegalMappingError, evaluate

PATTERNS = [
    Draw(NM.parse(nm), block, 0.9) for nm in ("1:4", "2:4", "3:4") for block in (16, 32, 64)
]
TRIES = 40


@dataclass(frozen=True)
class Case:
    """One layer on one design at one pattern."""

    name: str
    design: Accelerator
    problem: Problem

    @property
    def key(self) -> tuple[str, str]:
        return self.design.name, self.problem.key


def cases(layers: dict[str, Layer]) -> dict[tuple[str, str], Case]:
    """Every different problem that the layers become, by (design, key)."""
    found: dict[tuple[str, str], Case] = {}
    for design in map(load_accelerator, available()):
        for name, layer in layers.items():
            for draw in PATTERNS:
                gemm = gemm_of(layer, draw.counted(layer), 0.6)
                case = Case(f"{name} {draw.nm} {draw.block}", design, problem_for(design, gemm))
                found.setdefault(case.key, case)
    return found


def chosen_spec(
    case: Case, library: MappingFile | None, rng: np.random.Generator
) -> tuple[Spec, str]:
    """The rendered spec and where its mapping is from.

    Raises:
        CrispLoopError: no mapping that fits was found.
    """
    design, name = case.design, f"{case.design.name}: {case.name}"
    nest = library.nest(case.problem.key) if library else None
    if nest is not None:
        return spec_of(design, case.problem, nest, name), "shipped"
    reason = "no split of the loops fits the dataflow"
    for relaxed in (False, True):
        space = mapspace(design, case.problem, relaxed)
        space = space.take(fitting(design, case.problem, space))
        for candidate in rng.permutation(len(space))[:TRIES]:
            orders = tuple(str(rng.choice(slot.orders)) for slot in space.slots)
            spec = spec_of(design, case.problem, space.nest(int(candidate), orders), name)
            try:
                evaluate(spec)
            except IllegalMappingError as error:
                reason = str(error)
                continue
            return spec, "random"
    raise CrispLoopError(reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--layers", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--networks", nargs="*", default=["resnet50", "vgg16", "mobilenetv2", "vit-tiny-cifar"]
    )
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("specs-sample.csv"))
    options = parser.parse_args()

    layers: dict[str, Layer] = {}
    for name in options.networks:
        layers |= {f"{name}/{layer.name}": layer for layer in operation_table(name).layers}
    own = len(layers)
    shapes = {(each.S, each.K, each.N, each.groups) for each in layers.values()}
    for path in options.layers:
        for layer in read_layers(path).layers:
            shape = (layer.S, layer.K, layer.N, layer.groups)
            if shape not in shapes:
                shapes.add(shape)
                layers[f"{path.name}/{layer.name}"] = replace(layer, name=layer.name)
    print(f"{own} layers of networks, {len(layers) - own} other shapes from files", flush=True)

    found = cases(layers)
    print(f"{len(found)} different problems", flush=True)
    libraries = {name: shipped_mappings(load_accelerator(name)) for name in available()}
    rng = np.random.default_rng(options.seed)
    specs: list[tuple[Case, Spec, str]] = []
    refused: Counter[str] = Counter()
    start = time.perf_counter()
    for case in found.values():
        try:
            spec, source = chosen_spec(case, libraries[case.design.name], rng)
            check_spec(spec)
        except CrispLoopError as error:
            refused[f"{case.design.name}: {case.name}: {error}"] += 1
            continue
        specs.append((case, spec, source))
    sources = Counter(source for _, _, source in specs)
    took = time.perf_counter() - start
    print(f"rendered {len(specs)} in {took:.0f} s, mappings {dict(sources)}", flush=True)
    for reason in refused:
        print("not rendered:", reason, flush=True)

    chosen = random.Random(options.seed).sample(specs, min(options.sample, len(specs)))
    failures: list[str] = []
    rows = []
    engine, analytic = Timeloop(workers=1, store=None), Analytic()
    for case, spec, source in chosen:
        (ours,) = analytic.evaluate([spec], Quiet())
        try:
            (theirs,) = engine.evaluate([spec], Quiet())
        except CrispLoopError as error:
            failures.append(str(error))
            rows.append([case.design.name, case.name, source, ours.cycles, "", str(error)])
            continue
        energy = abs(ours.energy_uJ / theirs.energy_uJ - 1)
        same = ours.cycles == theirs.cycles and energy < 1e-3
        if not same:
            failures.append(
                f"{spec.source}: cycles {ours.cycles} and {theirs.cycles}, energy {energy:.2%} off"
            )
        rows.append([case.design.name, case.name, source, ours.cycles, theirs.cycles, ""])
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["design", "case", "mapping", "analytic", "timeloop", "failure"])
        writer.writerows(rows)
    print(f"sample of {len(chosen)}: {len(failures)} failures")
    for failure in failures:
        print(failure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
