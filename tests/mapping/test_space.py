"""The mapspace against brute force."""

from itertools import product
from math import prod

import numpy as np
import pytest

from crisp_loop.accelerators import available, load_accelerator, problem_for
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.loops import DIMENSIONS, LoopNest
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.bounds import fitting
from crisp_loop.mapping.space import mapspace

SMALL = Gemm("small", 1, 32, 16, 12, dense(32 * 16), 0.6)


@pytest.mark.parametrize("name", available())
def test_all_splits_that_the_dataflow_allows_and_no_others(name: str) -> None:
    design = load_accelerator(name)
    space = mapspace(design, problem_for(design, SMALL))
    bounds = {"R": 1, "M": 32, "N": 12, "Q": 1, "K": 16}
    found = {
        tuple(int(space.factors[d][i, s]) for d in DIMENSIONS for s in range(len(space.slots)))
        for i in range(len(space))
    }
    expected = set()
    per_dim = []
    for dim in DIMENSIONS:
        limits = [
            1 if dim not in slot.dims else (slot.dims[dim] or bounds[dim])
            for slot in design.dataflow
        ]
        choices = [[f for f in range(1, limit + 1) if bounds[dim] % f == 0] for limit in limits]
        per_dim.append([c for c in product(*choices) if prod(c) == bounds[dim]])
    for combination in product(*per_dim):
        totals = [prod(each[s] for each in combination) for s in range(len(design.dataflow))]
        if all(t <= (slot.total or t) for t, slot in zip(totals, design.dataflow, strict=True)):
            expected.add(tuple(f for each in combination for f in each))
    assert found == expected
    assert len(found) == len(space)


def test_lanes_that_select_take_whole_groups() -> None:
    design = load_accelerator("crisp-stc")
    mask = Draw(NM(1, 4), 32, 0.9).mask(64, 320, np.random.default_rng(0))
    gemm = Gemm("layer", 1, 64, 320, 49, sparsity_of(mask, NM(1, 4), 32))
    space = mapspace(design, problem_for(design, gemm))
    lanes = next(
        i for i, slot in enumerate(space.slots) if slot.kind == "spatial" and slot.level == "RF"
    )
    assert set(space.factors["K"][:, lanes]) == {4, 8, 16}


def test_tiles_that_overflow_are_left_out() -> None:
    design = load_accelerator("dense")
    problem = problem_for(design, Gemm("fc", 1, 64, 2**19, 1, dense(2**25)))
    assert len(fitting(design, problem, mapspace(design, problem))) == 0
    relaxed = mapspace(design, problem, relaxed=True)
    assert len(fitting(design, problem, relaxed)) > 0


def test_nests_read_back_from_their_lines() -> None:
    design = load_accelerator("dense")
    space = mapspace(design, problem_for(design, SMALL))
    nest = space.nest(7, tuple(slot.orders[-1] for slot in space.slots))
    assert LoopNest.parse(nest.compact()) == nest
    assert nest.bound("M") == 32


@pytest.mark.parametrize(
    "line", ["DRAM", "DRAM temporal M2", "DRAM temporal Mx order NMRKQ", "DRAM temporal - order NM"]
)
def test_unreadable_lines_are_named(line: str) -> None:
    with pytest.raises(ValueError, match=line.split()[0]):
        LoopNest.parse([line])
