"""Step 1, dense dataflow: the traffic of the loop nest as if no value were zero.

With single-dimension projections and perfect factors tiles are boxes that either repeat or
are disjoint, so Timeloop's walk over the nest has a closed form. Z is read, modified and
written; its partition is the share of Z one instance ever holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from crisp_loop.core.gathers import Gather
from crisp_loop.sparseloop.architecture import Architecture
from crisp_loop.sparseloop.arrays import Ints, first_rows
from crisp_loop.sparseloop.busy import BusyLoops
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.nest import Nest
from crisp_loop.sparseloop.optimizations import SparseOptimizations
from crisp_loop.sparseloop.problem import Problem


@dataclass(frozen=True)
class Design:
    """A parsed spec."""

    source: str
    architecture: Architecture
    problem: Problem
    optimizations: SparseOptimizations
    nest: Nest
    gathers: Mapping[int, Gather] = field(default_factory=dict)
    """Tensors whose tiles hold what block-rows share once."""


@dataclass(frozen=True)
class DenseTraffic:
    """One tensor at one level that keeps it; scalar counts per instance, shape (batch,)."""

    tile: Ints
    reads: Ints
    fills: Ints
    updates: Ints
    temporal_reductions: Ints


@dataclass(frozen=True)
class DenseAnalysis:
    """Step 1 for all tensors and levels."""

    factors: Ints
    """(batch, loop)."""
    tiles: tuple[Ints, ...]
    """[tensor] (batch, loop): elements of the tile that the loops up to each one walk over."""
    traffic: dict[tuple[int, int], DenseTraffic]
    """By (level, tensor), only where it is kept."""
    expansion_x: Ints
    """(batch, level + 1) instances used along X; entry 0 is the compute, l + 1 is level l."""
    expansion_y: Ints
    iterations: Ints
    """(batch,) steps in time of one compute unit."""

    @property
    def instances(self) -> Ints:
        """(batch, level + 1) instances used."""
        return self.expansion_x * self.expansion_y


def check_factors(design: Design, factors: Ints, legality: Legality) -> None:
    """Factors must be perfect: their product is the dimension's size."""
    nest, problem = design.nest, design.problem
    legality.refuse(
        np.asarray((factors < 1).any(axis=1)),
        lambda _: f"{design.source}: a loop's factor is below 1.",
    )
    for dim in problem.dims:
        own = [index for index, loop in enumerate(nest.loops) if loop.dim == dim]
        products = factors[:, own].prod(axis=1)
        size = problem.bounds[dim]

        def reason(index: int, dim: str = dim, size: int = size, products: Ints = products) -> str:
            return (
                f"{design.source}: the mapping's factors of {dim} multiply to"
                f" {products[index]}, but {dim} is {size}."
            )

        legality.refuse(products != size, reason)


def analyse_dense(design: Design, factors: Ints) -> DenseAnalysis:
    """Tiles, reads, fills and updates of every tensor at every level."""
    nest, problem = design.nest, design.problem
    levels = len(nest.keeps)
    busy = BusyLoops(nest, factors)
    expansion_x, expansion_y = busy.instances_above("X"), busy.instances_above("Y")

    tiles: list[Ints] = []
    traffic: dict[tuple[int, int], DenseTraffic] = {}
    for index, tensor in enumerate(problem.tensors):
        tiles.append(busy.tiles(tensor.dims))
        # Accesses that one instance of a level receives from the instances below it.
        accesses = _by_compute(design, busy, factors, tensor.dims)
        scattered = [busy.scattered(tensor.dims, level) for level in range(levels)]
        partition = tiles[-1][:, -1]
        partitions = [partition]
        for level in range(levels - 1, 0, -1):
            partition = partition // scattered[level]
            partitions.insert(0, partition)
        for level in range(levels):
            passed_on = accesses  # by a level that bypasses the tensor
            if nest.keeps[level][index]:
                end = nest.ends[level]
                passed_on = tiles[-1][:, end - 1] * busy.visits(tensor.dims, end)
                if index in design.gathers:
                    passed_on = _gathered(design, level, design.gathers[index], factors, passed_on)
                none = np.zeros_like(accesses)
                fills = none if nest.parent(level, index) is None else passed_on
                reads, updates, reductions = accesses, none, none
                if tensor.output:
                    # The first visit of each element needs no old value.
                    reads = reductions = accesses - partitions[level]
                    updates = accesses
                    fills = fills if fills is none else fills - partitions[level]
                traffic[level, index] = DenseTraffic(
                    tile=tiles[-1][:, end - 1],
                    reads=reads,
                    fills=fills,
                    updates=updates,
                    temporal_reductions=reductions,
                )
            if level + 1 < levels:
                accesses = passed_on * scattered[level + 1]
    steps = busy.steps
    return DenseAnalysis(factors, tuple(tiles), traffic, expansion_x, expansion_y, steps)


def _by_compute(design: Design, busy: BusyLoops, factors: Ints, dims: frozenset[str]) -> Ints:
    """Accesses of the compute units below one instance of the innermost level.

    The compute keeps nothing, so each step in time is an access for each distinct element.
    Where it fans out below the innermost level, however, a unit can get an element that it
    or its neighbours used a step ago from a neighbour, over links that cost nothing.
    """
    nest = design.nest
    steps = busy.steps
    spatial = [at for at in nest.within(0, 0) if nest.loops[at].spatial]
    if not spatial:
        return steps
    moved = busy.visits(dims, 0)
    fanout_x, fanout_y = design.architecture.fanout(0)
    shapes = factors[:, spatial]
    first, group = first_rows(shapes)
    flags = tuple(nest.loops[at].dim in dims for at in spatial)
    along_x = tuple(nest.loops[at].axis == "X" for at in spatial)
    distinct, supplied = np.array(
        [
            _elements(tuple(shape), flags, along_x, fanout_x, fanout_y)
            for shape in shapes[first].tolist()
        ]
    ).T
    return moved * distinct[group] + (steps - moved) * supplied[group]


@lru_cache(maxsize=4096)
def _elements(
    shape: tuple[int, ...],
    relevant: tuple[bool, ...],
    along_x: tuple[bool, ...],
    fanout_x: int,
    fanout_y: int,
) -> tuple[int, int]:
    """Distinct elements that an array of units uses, and how many of them no neighbour has.

    ``shape``: the spatial factors, innermost first. Units are numbered through the factors
    and laid out row by row on the physical array, which need not be as wide as the factors.
    """
    distinct = math.prod(factor for factor, flag in zip(shape, relevant, strict=True) if flag)
    units = math.prod(shape)
    if units == distinct:
        return distinct, distinct
    wide = math.prod(factor for factor, flag in zip(shape, along_x, strict=True) if flag)
    width, height = max(fanout_x, wide), max(fanout_y, units // wide)
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
    return distinct, len(set(element[~linked.flat[:units]].tolist()))


def _gathered(design: Design, level: int, gather: Gather, factors: Ints, fetched: Ints) -> Ints:
    """What is left of ``fetched`` where a tile holds each block once that its block-rows share.

    The walk over the nest visits all tiles of the gathered table equally often, so the mean share
    over the table is the share of all fetches. Where several instances hold different parts of
    the table, it is their mean, rounded up.
    """
    nest, problem = design.nest, design.problem
    inside = factors[:, : nest.ends[level]]

    def extent(dim: str) -> Ints:
        return np.where(
            [loop.dim == dim for loop in nest.loops[: nest.ends[level]]], inside, 1
        ).prod(axis=1)

    rows, places = extent(gather.rows), extent(gather.places)
    touched = np.array(
        [gather.touched(*tile) for tile in zip(rows.tolist(), places.tolist(), strict=True)]
    )
    table = problem.bounds[gather.rows] * problem.bounds[gather.places]
    return -(-fetched * touched // table)
