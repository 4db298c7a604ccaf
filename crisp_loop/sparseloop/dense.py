"""Step 1, dense dataflow: the traffic of the loop nest as if no value were zero.

With single-dimension projections and perfect factors tiles are boxes that either repeat or
are disjoint, so Timeloop's walk over the nest has a closed form. Z is read, modified and
written; its partition is the share of Z one instance ever holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from crisp_loop.core.gathers import Gather
from crisp_loop.sparseloop.busy import BusyLoops
from crisp_loop.sparseloop.columns import Ints, by_kind, plainly
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.nest import Nest
from crisp_loop.sparseloop.parse import Design


@dataclass(slots=True)
class DenseTraffic:
    """One tensor at one level that keeps it; scalar counts per instance."""

    tile: Ints
    reads: Ints
    fills: Ints
    updates: Ints
    temporal_reductions: Ints


@dataclass(frozen=True)
class DenseAnalysis:
    """Step 1 for all tensors and levels."""

    factors: Sequence[Ints]
    """[loop]."""
    tiles: tuple[list[Ints], ...]
    """[tensor][loop]: elements of the tile that the loops up to each one walk over."""
    traffic: dict[tuple[int, int], DenseTraffic]
    """By (level, tensor), only where it is kept."""
    expansion_x: list[Ints]
    """[level + 1] instances used along X; entry 0 is the compute, l + 1 is level l."""
    expansion_y: list[Ints]
    iterations: Ints
    """Steps in time of one compute unit."""

    @property
    def instances(self) -> list[Ints]:
        """[level + 1] instances used."""
        return [x * y for x, y in zip(self.expansion_x, self.expansion_y, strict=True)]


def check_factors(design: Design, factors: Sequence[Ints], legality: Legality) -> None:
    """Factors must be perfect: their product is the dimension's size."""
    products: dict[str, Ints] = dict.fromkeys(design.problem.dims, 1)
    for loop, factor in zip(design.nest.loops, factors, strict=True):
        if not plainly(factor, 1):
            legality.refuse(factor < 1, "a loop's factor is below 1")
            products[loop.dim] = products[loop.dim] * factor
    for dim, product in products.items():
        sentence = "the mapping's factors of {} multiply to {}, but {} is {}"
        size = design.problem.bounds[dim]
        legality.refuse(product != size, sentence, dim, product, dim, size)


def analyse_dense(design: Design, factors: Sequence[Ints]) -> DenseAnalysis:
    """Tiles, reads, fills and updates of every tensor at every level."""
    nest, problem = design.nest, design.problem
    levels = len(nest.keeps)
    busy = BusyLoops(nest, factors)
    expansion_x, expansion_y = busy.instances_above("X"), busy.instances_above("Y")

    tiles: list[list[Ints]] = []
    traffic: dict[tuple[int, int], DenseTraffic] = {}
    for index, tensor in enumerate(problem.tensors):
        tile = busy.tiles(tensor.dims)
        tiles.append(tile)
        scattered = busy.scattered(tensor.dims)
        # Accesses that one instance of a level receives from the instances below it.
        accesses = _by_compute(design, busy, factors, tensor.dims, scattered[0])
        partitions = [tile[-1]]
        for level in range(levels - 1, 0, -1):
            partitions.append(partitions[-1] // scattered[level])
        partitions.reverse()
        for level in range(levels):
            passed_on = accesses  # by a level that bypasses the tensor
            if nest.keeps[level][index]:
                end = nest.ends[level]
                passed_on = tile[end - 1] * busy.visits(tensor.dims, end)
                if index in design.gathers:
                    passed_on = _gathered(design, level, design.gathers[index], factors, passed_on)
                outermost = nest.parent(level, index) is None
                fills: Ints = 0 if outermost else passed_on
                reads, updates, reductions = accesses, 0, 0
                if tensor.output:
                    # The first visit of each element needs no old value.
                    reads = reductions = accesses - partitions[level]
                    updates = accesses
                    fills = 0 if outermost else fills - partitions[level]
                traffic[level, index] = DenseTraffic(
                    tile=tile[end - 1],
                    reads=reads,
                    fills=fills,
                    updates=updates,
                    temporal_reductions=reductions,
                )
            if level + 1 < levels:
                accesses = passed_on * scattered[level + 1]
    return DenseAnalysis(factors, tuple(tiles), traffic, expansion_x, expansion_y, busy.steps)


def _by_compute(
    design: Design,
    busy: BusyLoops,
    factors: Sequence[Ints],
    dims: frozenset[str],
    scattered: Ints,
) -> Ints:
    """Accesses of the compute units below one instance of the innermost level.

    The compute keeps nothing, so each step in time is an access for each distinct element.
    Where it fans out below the innermost level, however, a unit can get an element that it
    or its neighbours used a step ago from a neighbour, over links that cost nothing.
    """
    steps = busy.steps
    spatial = design.nest.innermost_spatial
    if not spatial:
        return steps
    moved = busy.visits(dims, 0)
    supplied_to = partial(_supplied, *_units(design.nest, dims), design.architecture.fanouts[0])
    supplied = by_kind(supplied_to, *[factors[at] for at in spatial])
    return moved * scattered + (steps - moved) * supplied


@lru_cache(maxsize=1024)
def _units(nest: Nest, dims: frozenset[str]) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Which of the loops over compute units move a tensor, and which run along X."""
    loops = [nest.loops[at] for at in nest.innermost_spatial]
    return tuple(loop.dim in dims for loop in loops), tuple(loop.axis == "X" for loop in loops)


@lru_cache(maxsize=4096)
def _supplied(
    relevant: tuple[bool, ...], along_x: tuple[bool, ...], fanout: tuple[int, int], *shape: int
) -> int:
    """How many of the distinct elements of an array of units no neighbour has.

    ``shape``: the spatial factors, innermost first. Units are numbered through them and laid out
    row by row on the physical array, which need not be as wide as the factors.
    """
    distinct = math.prod(factor for factor, flag in zip(shape, relevant, strict=True) if flag)
    units = math.prod(shape)
    if units == distinct:
        return distinct
    wide = math.prod(factor for factor, flag in zip(shape, along_x, strict=True) if flag)
    width, height = max(fanout[0], wide), max(fanout[1], units // wide)
    numbers = np.arange(units)
    element, rest, stride = np.zeros(units, dtype=np.int64), numbers, 1
    for factor, flag in zip(shape, relevant, strict=True):
        if flag:
            element += rest % factor * stride
            stride *= factor
        rest = rest // factor
    grid = np.full((height, width), -1)
    grid.flat[:units] = element
    linked = np.zeros(grid.shape, dtype=np.bool_)
    across, down = grid[:, 1:] == grid[:, :-1], grid[1:] == grid[:-1]
    linked[:, 1:] |= across
    linked[:, :-1] |= across
    linked[1:] |= down
    linked[:-1] |= down
    return len(set(element[~linked.flat[:units]].tolist()))


def _gathered(
    design: Design, level: int, gather: Gather, factors: Sequence[Ints], fetched: Ints
) -> Ints:
    """What is left of ``fetched`` where a tile holds each block once that its block-rows share.

    The walk over the nest visits all tiles of the gathered table equally often, so the mean share
    over the table is the share of all fetches. Where several instances hold different parts of
    the table, it is their mean, rounded up.
    """
    extents: dict[str, Ints] = {gather.rows: 1, gather.places: 1}
    for at in design.nest.within(0, level):
        dim = design.nest.loops[at].dim
        if dim in extents:
            extents[dim] = extents[dim] * factors[at]
    touched = by_kind(gather.touched, *extents.values())
    table = design.problem.bounds[gather.rows] * design.problem.bounds[gather.places]
    return -(-fetched * touched // table)
