"""The mapper against exhaustive evaluation of small mapspaces by the exact engine."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from crisp_loop.accelerators import Problem, available, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.objective import OBJECTIVES, Costs
from crisp_loop.mapping.region import Region
from crisp_loop.mapping.search import best_mapping, paddings
from crisp_loop.mapping.space import IntArray, mapspace


def hybrid(name: str, rows: int, columns: int, n: int, pattern: str = "2:4") -> Gemm:
    nm = NM.parse(pattern)
    mask = Draw(nm, 16, 0.85).mask(rows, columns, np.random.default_rng(5))
    return Gemm(name, 1, rows, columns, n, sparsity_of(mask, nm, 16), 0.6)


GEMMS = [
    hybrid("hybrid", 32, 48, 3),
    hybrid("sparse", 16, 64, 4, "1:4"),
    Gemm("dense", 1, 10, 12, 7, dense(120), 0.6),
    Gemm("depthwise", 6, 1, 9, 2, dense(6 * 9), 0.6),
    Gemm("vector", 1, 20, 24, 1, dense(20 * 24), 0.6),
]
CASES = [(design, gemm) for design in available() for gemm in GEMMS]
# S2TA-like has DSTC's slots, so one of its mapspaces is enough to go through.
EXHAUSTED = [
    (design, gemm)
    for design, gemm in CASES
    if gemm.layer != "sparse" and (design != "s2ta" or gemm.layer == "vector")
]


def problems(design_name: str, gemm: Gemm) -> list[Problem]:
    problem = problem_for(load_accelerator(design_name), gemm)
    return [problem.padded(n) for n in paddings(gemm.N)]


@lru_cache
def everything(name: str, gemm: Gemm) -> tuple[IntArray, Costs]:
    """N and the exact costs of every mapping in the mapspace, none ruled out by a bound."""
    design = load_accelerator(name)
    columns, cycles, energy = [], [], []
    for problem in problems(name, gemm):
        space = mapspace(design, problem)
        for orders in product(*(slot.orders for slot in space.slots)):
            region = Region(design, problem, space, orders)
            for batch in np.unique(region.batch):
                costs = region.price(np.flatnonzero(region.batch == batch))
                cycles.append(costs.cycles)
                energy.append(costs.energy_pJ)
                columns.append(np.full(len(costs.cycles), problem.bounds["N"]))
    return np.concatenate(columns), Costs(np.concatenate(cycles), np.concatenate(energy))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("name", "gemm"), EXHAUSTED, ids=lambda x: getattr(x, "layer", x))
def test_the_mapping_is_the_best_of_all(name: str, gemm: Gemm, objective: str) -> None:
    design, goal = load_accelerator(name), OBJECTIVES[objective]
    columns, costs = everything(name, gemm)
    first, second = goal.first(costs), goal.second(costs)
    taken, own = 0, np.inf
    for n in np.unique(columns):  # ascending: a larger N has to save more than 1 %
        if first[columns == n].min() * 1.01 < own:
            taken, own = n, first[columns == n].min()
    limit = own * (1 + goal.tolerance)
    near = (columns == taken) & (first <= limit)
    found = best_mapping(design, problem_for(design, gemm), objective=goal)
    cost = Costs(np.array([float(found.cycles)]), np.array([found.energy_pJ]))
    assert found.nest.bound("N") == taken
    assert goal.first(cost)[0] <= limit
    assert goal.second(cost)[0] == second[near].min()
    assert found.evaluated <= found.candidates


def test_padding_is_taken_only_where_it_pays() -> None:
    design = load_accelerator("dense")
    awkward = problem_for(design, Gemm("prime", 1, 64, 64, 127, dense(4096)))
    assert best_mapping(design, awkward).nest.bound("N") == 128
    even = problem_for(design, Gemm("even", 1, 64, 64, 128, dense(4096)))
    assert best_mapping(design, even).nest.bound("N") == 128
    assert paddings(49) == [49, 50, 52, 56, 64]
    assert paddings(1) == [1]


def test_a_gemm_that_fits_nowhere_is_named() -> None:
    design = load_accelerator("dstc").model_copy(update={"relax": ()})
    problem = problem_for(design, Gemm("huge", 1, 8, 2**22, 1, dense(2**25), 0.6))
    with pytest.raises(CrispLoopError, match="dstc: no mapping of fc fits its memories"):
        best_mapping(design, problem, "fc")
