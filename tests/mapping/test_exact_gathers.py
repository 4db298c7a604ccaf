"""Mappings that are chosen by the blocks which masks really keep."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from crisp_loop.accelerators import load_accelerator, problem_for
from crisp_loop.core.gathers import Gather
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.objective import OBJECTIVES
from crisp_loop.mapping.region import Region
from crisp_loop.mapping.search import best_mapping
from crisp_loop.mapping.space import mapspace
from crisp_loop.pipeline.experiment import load_experiment
from crisp_loop.pipeline.run import run_experiment
from crisp_loop.render import spec_of
from crisp_loop.sparseloop import evaluate

ROWS_IN_SMEM = {"dataflow.1.dims.R": None}
"""Several block-rows of inputs lie in SMEM at once."""


def gemm(rows: int, columns: int, n: int, pattern: str = "2:4", seed: int = 3) -> Gemm:
    nm = NM.parse(pattern)
    mask = Draw(nm, 16, 0.8).mask(rows, columns, np.random.default_rng(seed))
    return Gemm("layer", 1, rows, columns, n, sparsity_of(mask, nm, 16), 0.6)


SMALL = [gemm(64, 96, 4), gemm(96, 64, 3, "1:4"), gemm(64, 160, 2, "3:4")]


@pytest.mark.parametrize("changes", [{}, ROWS_IN_SMEM], ids=["as shipped", "rows in SMEM"])
@pytest.mark.parametrize("small", SMALL, ids=lambda each: str(each.weight.nm))
def test_no_mapping_costs_less_than_its_bound_or_than_the_one_found(
    small: Gemm, changes: dict[str, None]
) -> None:
    design = load_accelerator("crisp-stc", changes)
    problem = problem_for(design, small, exact=True)
    space = mapspace(design, problem)
    least = np.inf
    for orders in product(*(slot.orders for slot in space.slots)):
        region = Region(design, problem, space, orders)
        for batch in np.unique(region.batch):
            members = np.flatnonzero(region.batch == batch)
            costs = region.price(members)
            assert (region.lower.cycles[members] <= costs.cycles).all()
            assert (region.lower.energy_pJ[members] <= costs.energy_pJ).all()
            least = min(least, float(costs.energy_pJ.min()))
    found = best_mapping(design, problem, objective=OBJECTIVES["energy"])
    if found.nest.bound("N") == small.N:
        assert found.energy_pJ == pytest.approx(least, rel=1e-12)
    # It is what the engine says of the spec with the gather beside it.
    said = evaluate(spec_of(design, problem, found.nest))
    assert said.energy_uJ == pytest.approx(1e-6 * found.energy_pJ, rel=1e-9)


def test_rows_that_share_blocks_are_held_together() -> None:
    """With few input blocks for many block-rows, holding several rows pays, and is found."""
    layer = gemm(256, 64, 196)
    problem = problem_for(load_accelerator("crisp-stc"), layer, exact=True)
    # 16 block-rows keep 2 of 4 blocks each; a tile of all rows fetches each of the 4 once.
    assert problem.gather is not None
    assert problem.gather.touched(16, 2) == 4
    assert problem.gather.touched(1, 2) == 32
    energy, nests = {}, {}
    for name, changes in (("apart", {}), ("together", ROWS_IN_SMEM)):
        design = load_accelerator("crisp-stc", changes)
        for exact in (False, True):
            nest = best_mapping(design, problem_for(design, layer, exact)).nest
            energy[name, exact] = evaluate(spec_of(design, problem, nest)).energy_uJ
            nests[name, exact] = nest.compact()
    assert energy["together", True] <= energy["together", False]
    assert energy["together", True] < 0.8 * energy["apart", True]
    assert any("SMEM temporal" in line and "R" in line for line in nests["together", True])


def test_keys_tell_tables_apart_and_bounds_from_truth() -> None:
    design = load_accelerator("crisp-stc")
    one, other = gemm(64, 160, 4, seed=1), gemm(64, 160, 4, seed=2)
    assert problem_for(design, one).key == problem_for(design, other).key
    keys = {
        problem_for(design, each, exact).key for each in (one, other) for exact in (True, False)
    }
    assert len(keys) == 3
    dense = load_accelerator("dense")
    assert problem_for(dense, one, exact=True).key == problem_for(dense, one).key
    same = problem_for(design, one, exact=True)
    assert same.gather is not None
    again = replace(same, gather=Gather(same.gather.indices.copy()))
    assert again.key == same.key


def test_an_exact_experiment_maps_by_the_real_blocks(tmp_path: Path) -> None:
    given = {
        "network": "digits-resnet",
        "masks": "draw",
        "prune": {"nm": "2:4", "block": 16, "sparsity": 0.9},
        "accelerators": ["crisp-stc"],
        "arch": {"crisp-stc/dataflow.1.dims.R": None},
        "objective": "energy",
    }
    energy = {}
    for engine in ("analytic", "analytic-exact"):
        experiment = load_experiment(None, given | {"engine": engine})
        results = run_experiment(experiment, tmp_path / engine).results
        ours = results[results["accelerator"] == "crisp-stc"].set_index("layer")["energy_uJ"]
        energy[engine] = ours
    # Each layer's best by the truth is at most what its best by the bound costs at most.
    assert (energy["analytic-exact"] <= energy["analytic"] * (1 + 1e-9)).all()
    assert energy["analytic-exact"].sum() < 0.99 * energy["analytic"].sum()
    text = (tmp_path / "analytic-exact" / "mapping" / "crisp-stc.yaml").read_text()
    assert "indices=" in text
