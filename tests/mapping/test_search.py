"""The mapper against exhaustive evaluation of small mapspaces by the exact engine."""

from itertools import product

import numpy as np
import pytest

from crisp_loop.accelerators import Problem, available, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.screen import arithmetic_cycles, estimate, fitting, least_cycles
from crisp_loop.mapping.search import best_mapping, evaluated, paddings
from crisp_loop.mapping.space import mapspace


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


@pytest.mark.parametrize(("name", "gemm"), EXHAUSTED, ids=lambda x: getattr(x, "layer", x))
def test_the_mapping_is_as_good_as_the_best_of_all(name: str, gemm: Gemm) -> None:
    design = load_accelerator(name)
    everything = []
    for problem in problems(name, gemm):
        space = mapspace(design, problem)
        for orders in product(*(slot.orders for slot in space.slots)):
            everything += evaluated(design, problem, space, orders)
    fewest = min(cycles for cycles, _, _ in everything)
    near = [energy for cycles, energy, _ in everything if cycles <= fewest * 1.01]
    found = best_mapping(design, problem_for(design, gemm))
    assert found.cycles <= fewest * 1.02
    assert found.energy_pJ <= min(near) * 1.25  # only the finalists' energies are compared


@pytest.mark.parametrize(("name", "gemm"), CASES, ids=lambda x: getattr(x, "layer", x))
def test_the_closed_forms_bound_the_engine_from_below(name: str, gemm: Gemm) -> None:
    design = load_accelerator(name)
    rng = np.random.default_rng(0)
    for problem in problems(name, gemm)[:2]:
        space = mapspace(design, problem)
        space = space.take(fitting(design, problem, space))
        space = space.take(rng.permutation(len(space))[:60])
        orders = tuple(slot.orders[0] for slot in space.slots)
        bounds, _ = estimate(design, problem, space, orders)
        by_nest = {str(space.nest(i, orders)): bound for i, bound in enumerate(bounds)}
        for cycles, _, nest in evaluated(design, problem, space, orders):
            # fixed_structured densities round on tiles this small
            assert by_nest[str(nest)] <= cycles * 1.05 + 2
        assert (arithmetic_cycles(problem, space) >= least_cycles(design, problem) * 0.999).all()


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
