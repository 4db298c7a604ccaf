"""The mapper's lower bounds against the exact engine: nothing may cost less than its bound."""

from itertools import product

import numpy as np
import pytest

from crisp_loop.accelerators import Accelerator, available, load_accelerator, problem_for
from crisp_loop.core.gemm import Gemm, WeightSparsity, dense
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.bounds import arithmetic_cycles, fitting, least_cycles
from crisp_loop.mapping.region import Region
from crisp_loop.mapping.search import paddings
from crisp_loop.mapping.space import mapspace

TRIED = 24


def hybrid(name: str, shape: tuple[int, int, int], pattern: str, block: int, kappa: float) -> Gemm:
    rows, columns, n = shape
    nm = NM.parse(pattern)
    mask = Draw(nm, block, kappa).mask(rows, columns, np.random.default_rng(5))
    return Gemm(name, 1, rows, columns, n, sparsity_of(mask, nm, block), 0.6)


def unstructured(rows: int, columns: int, n: int, density: float) -> Gemm:
    nnz = round(rows * columns * density)
    return Gemm("loose", 1, rows, columns, n, WeightSparsity("unstructured", nnz, density), 0.37)


GEMMS = [
    hybrid("hybrid", (64, 192, 49), "2:4", 16, 0.9),
    hybrid("sparse", (128, 256, 36), "1:4", 32, 0.93),
    hybrid("mild", (64, 128, 12), "3:4", 64, 0.6),
    unstructured(48, 160, 21, 0.113),
    unstructured(24, 90, 8, 0.013),
    Gemm("dense", 1, 40, 72, 28, dense(40 * 72), 0.6),
    Gemm("depthwise", 24, 1, 9, 12, dense(24 * 9), 0.6),
    Gemm("vector", 1, 1000, 512, 1, dense(512000), 1.0),
]


def check(design: Accelerator, gemm: Gemm, limit: int = TRIED) -> int:
    """How many legal candidates were compared."""
    rng = np.random.default_rng(0)
    compared = 0
    problem = problem_for(design, gemm)
    for n in paddings(gemm.N)[:2]:
        padded = problem.padded(n)
        space = mapspace(design, padded)
        assert (arithmetic_cycles(padded, space) >= least_cycles(design, padded) * 0.999999).all()
        for orders in product(*(slot.orders for slot in space.slots)):
            some = space.take(rng.permutation(len(space))[:limit])
            region = Region(design, padded, some, orders)
            for batch in np.unique(region.batch):
                members = np.flatnonzero(region.batch == batch)
                costs = region.price(members)
                assert (region.lower.cycles[members] <= costs.cycles).all()
                assert (region.lower.energy_pJ[members] <= costs.energy_pJ).all()
                legal = members[np.isfinite(costs.cycles)]
                assert np.isin(legal, fitting(design, padded, some)).all()
                compared += len(legal)
    return compared


@pytest.mark.parametrize("gemm", GEMMS, ids=lambda gemm: gemm.layer)
@pytest.mark.parametrize("name", available())
def test_nothing_costs_less_than_its_bound(name: str, gemm: Gemm) -> None:
    assert check(load_accelerator(name), gemm) > 0


@pytest.mark.parametrize("name", ["dstc", "s2ta"])
def test_bounds_hold_for_random_zeros_too(name: str) -> None:
    design = load_accelerator(name)
    modes = [mode.model_copy(update={"distribution": "hypergeometric"}) for mode in design.modes]
    loose = design.model_copy(update={"modes": tuple(modes)})
    assert check(loose, unstructured(16, 36, 6, 0.2), limit=12) > 0


@pytest.mark.parametrize("name", available())
def test_bounds_are_not_idle(name: str) -> None:
    """The best candidates cost little more than their bounds, so that bounds rule others out."""
    design = load_accelerator(name)
    problem = problem_for(design, GEMMS[0])
    space = mapspace(design, problem)
    orders = tuple(slot.orders[0] for slot in space.slots)
    region = Region(design, problem, space, orders)
    cheapest = np.argsort(region.lower.energy_pJ)[:200]
    ratios = []
    for batch in np.unique(region.batch[cheapest]):
        members = cheapest[region.batch[cheapest] == batch]
        costs = region.price(members)
        legal = np.isfinite(costs.cycles)
        ratios += list((region.lower.energy_pJ[members] / costs.energy_pJ)[legal])
    assert np.median(ratios) > 0.9
