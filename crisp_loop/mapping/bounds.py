"""Lower bounds on cycles and energy, for all factor splits of a mapspace at once.

They follow from the loop factors alone: the dense traffic of every tensor at every level, times the
least share of it that formats and SAFs can leave. No mapping costs less by the exact engine
(``tests/mapping/test_bounds.py``), so what a bound rules out needs no evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.accelerators.schema import Level
from crisp_loop.core.gathers import Gather
from crisp_loop.core.loops import DIMENSIONS
from crisp_loop.mapping.objective import Costs, FloatArray
from crisp_loop.mapping.space import IntArray, MapSpace
from crisp_loop.render.spec import tensor_axes

_HYPERGEOMETRIC_FILL = 1 - np.exp(-1)
"""A fiber of f elements at density d is empty with probability (1-d)^f at most, so it holds
something at least min(1, f d) times this often. Structured fibers do so min(1, f d) times."""

_BELOW = 1 - 1e-9
"""Keeps the order of floating-point operations from lifting a bound above the truth."""


@dataclass(frozen=True)
class Rank:
    """The innermost rank of a tensor's format at one level, which every stored element is in."""

    format: str
    """``CP``: a word a non-zero; ``B``: a word an element of a fiber that is not empty."""
    bits: int
    """Of a word."""


InnerRanks = Mapping[tuple[str, str], Rank]
"""(tensor, level) to its innermost rank."""


@dataclass(frozen=True)
class _Loop:
    """One loop that some candidate has, outermost first in a nest."""

    level: int
    dim: str
    spatial: bool
    factors: FloatArray


def lower_bounds(
    accelerator: Accelerator,
    problem: Problem,
    space: MapSpace,
    orders: tuple[str, ...],
    ranks: InnerRanks,
) -> Costs:
    """Bounds on every candidate of ``space`` under one choice of loop orders.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        space: Candidates, (candidates, slots) factors a dimension.
        orders: A loop order a slot, innermost dimension first.
        ranks: Innermost ranks of the compressed tensors.
    """
    nest = _loops(accelerator, space, orders)
    count = len(space)
    cycles = arithmetic_cycles(problem, space)
    energy = np.full(count, _compute_energy(accelerator, problem))
    for depth, level in enumerate(accelerator.levels):
        instances = _product((each for each in nest if each.spatial and each.level < depth), count)
        read_words, write_words = np.zeros(count), np.zeros(count)
        for tensor in level.keep:
            dense = _dense_traffic(accelerator, problem, nest, depth, tensor, count)
            stored = _stored_share(problem, tensor)
            read_share, fill_share = _shares_after_skips(accelerator, problem, depth, tensor)
            bits = _metadata_bits(problem, nest, depth, tensor, ranks.get((tensor, level.name)))
            # What is skipped of an output is rounded up.
            reads = dense.reads * stored * read_share - (read_share < 1)
            writes = dense.updates * read_share + dense.fills * stored * fill_share
            read_bits, fill_bits = dense.reads * bits * read_share, dense.fills * bits * fill_share
            energy += instances * _energy(level, np.maximum(reads, 0), writes, read_bits, fill_bits)
            # Metadata counts as whole words; part of one is rounded away.
            read_words += np.maximum(reads + np.floor(read_bits / level.datawidth), 0)
            write_words += writes + np.floor(fill_bits / level.datawidth)
        if level.read_bandwidth:
            cycles = np.maximum(cycles, read_words / level.read_bandwidth)
        if level.write_bandwidth:
            cycles = np.maximum(cycles, write_words / level.write_bandwidth)
    return Costs(cycles * _BELOW, energy * _BELOW)


def arithmetic_cycles(problem: Problem, space: MapSpace) -> FloatArray:
    """Cycles of the arithmetic, (candidates,), what Sparseloop cannot express included."""
    lanes = np.ones(len(space))
    for i, slot in enumerate(space.slots):
        if slot.kind == "spatial":
            lanes *= np.prod([space.factors[dim][:, i] for dim in DIMENSIONS], axis=0)
    return _busy_lanes(problem) / lanes


def least_cycles(accelerator: Accelerator, problem: Problem) -> float:
    """Cycles of the arithmetic with every lane of the design busy."""
    lanes = 1.0
    for slot in accelerator.dataflow:
        if slot.kind == "spatial":
            limits = [
                problem.lanes(limit) if dim == "K" else limit
                for dim, limit in slot.dims.items()
                if limit
            ]
            lanes *= slot.total or float(prod(limits))
    return _busy_lanes(problem) / lanes


def ideal(accelerator: Accelerator, problem: Problem) -> Costs:
    """What no mapping undercuts: every lane busy, and memories that cost nothing."""
    cycles = least_cycles(accelerator, problem) * _BELOW
    return Costs(np.array([cycles]), np.array([_compute_energy(accelerator, problem)]))


def fitting(accelerator: Accelerator, problem: Problem, space: MapSpace) -> IntArray:
    """Indices of the candidates whose data may fit every level; the others certainly do not."""
    axes = tensor_axes(problem)
    fits = np.ones(len(space), dtype=bool)
    names = [slot.level for slot in space.slots]
    for level in accelerator.levels:
        if level.depth is None:
            continue
        inside = names.index(level.name)
        words = np.zeros(len(space))
        for tensor in level.keep:
            factors = [space.factors[dim][:, inside:].prod(axis=1) for dim in axes[tensor]]
            words += np.prod(factors, axis=0, dtype=float) * _stored_share(problem, tensor)
        fits &= words * _BELOW <= level.depth * level.width // level.datawidth
    return np.flatnonzero(fits)


def _busy_lanes(problem: Problem) -> float:
    """Lane-cycles of a problem. Lanes that hold candidates skip their zeros by themselves."""
    computes = float(prod(problem.bounds.values()))
    for tensor in problem.skipped_in_time:
        computes *= problem.densities[tensor]
    return computes * problem.cycle_correction


def _compute_energy(accelerator: Accelerator, problem: Problem) -> float:
    """pJ of the computes on two non-zeros."""
    computes = prod(problem.bounds.values()) * prod(problem.densities.values())
    return max(computes - 1, 0) * accelerator.compute.energy["mac_random"]


def _energy(
    level: Level,
    reads: FloatArray,
    writes: FloatArray,
    read_bits: FloatArray,
    fill_bits: FloatArray,
) -> FloatArray:
    """pJ of the accesses of one instance."""
    block = level.width / level.datawidth
    energy = (reads * level.energy["read"] + writes * level.energy["write"]) / block
    if level.metadata:
        each = (
            read_bits * level.energy["metadata_read"] + fill_bits * level.energy["metadata_write"]
        )
        energy += each / level.metadata.width
    return energy


@dataclass(frozen=True)
class _DenseTraffic:
    """Accesses of one instance over the run, as if no value were zero."""

    reads: FloatArray
    updates: FloatArray
    """Of an output that the levels inside send back."""
    fills: FloatArray


def _dense_traffic(
    accelerator: Accelerator,
    problem: Problem,
    nest: list[_Loop],
    depth: int,
    tensor: str,
    count: int,
) -> _DenseTraffic:
    dims = tensor_axes(problem)[tensor]
    below = [i for i, level in enumerate(accelerator.levels) if i > depth and tensor in level.keep]
    child = below[0] if below else len(accelerator.levels)
    none = np.zeros(count)
    # Copies travel by multicast, so loops in space only multiply what is distinct.
    scattered = (
        each for each in nest if each.spatial and depth <= each.level < child and each.dim in dims
    )
    accesses = _fetched(nest, child, dims, count) * _product(scattered, count)
    fetched = _fetched(nest, depth, dims, count) if depth else none
    if problem.gather is not None and tensor == problem.gather.tensor:
        fetched = fetched * _shared(problem, problem.gather, nest, depth, count)
        if below:
            accesses = accesses * _shared(problem, problem.gather, nest, child, count)
    if tensor != "Z":
        return _DenseTraffic(accesses, none, fetched)
    # The first visit of each element needs no old value.
    above = (each for each in nest if each.spatial and each.level < depth and each.dim in dims)
    own = prod(problem.bounds[dim] for dim in dims) / _product(above, count)
    return _DenseTraffic(accesses - own, accesses, fetched - own if depth else none)


def _shared(
    problem: Problem, gather: Gather, nest: list[_Loop], depth: int, count: int
) -> FloatArray:
    """Share of a gathered tensor that is fetched where tiles hold each block once."""
    inside = [each for each in nest if each.level >= depth]
    rows = _product((each for each in inside if each.dim == gather.rows), count)
    places = _product((each for each in inside if each.dim == gather.places), count)
    tiles, which = np.unique(np.stack([rows, places]).astype(int), axis=1, return_inverse=True)
    touched = np.array([gather.touched(*tile) for tile in tiles.T.tolist()])
    return touched[which] / (problem.bounds[gather.rows] * problem.bounds[gather.places])


def _fetched(nest: list[_Loop], depth: int, dims: tuple[str, ...], count: int) -> FloatArray:
    """Elements that an instance of the level at ``depth`` fetches over the run.

    Its tile stays while only loops run that do not move it: the innermost temporal ones outside
    that are not over its dimensions.
    """
    words = _product((each for each in nest if each.level >= depth and each.dim in dims), count)
    staying = np.ones(count, dtype=bool)
    for each in reversed([each for each in nest if each.level < depth and not each.spatial]):
        if each.dim in dims:
            staying &= each.factors == 1
            words *= each.factors
        else:
            words *= np.where(staying, 1, each.factors)
    return words


def _product(loops: Iterable[_Loop], count: int) -> FloatArray:
    product = np.ones(count)
    for each in loops:
        product *= each.factors
    return product


def _loops(accelerator: Accelerator, space: MapSpace, orders: tuple[str, ...]) -> list[_Loop]:
    """The loops that are not trivial for every candidate, outermost first."""
    names = [level.name for level in accelerator.levels]
    nest = []
    for i, (slot, order) in enumerate(zip(space.slots, orders, strict=True)):
        for dim in reversed(order):
            factors = space.factors[dim][:, i]
            if (factors > 1).any():
                spatial = slot.kind == "spatial"
                nest.append(_Loop(names.index(slot.level), dim, spatial, factors.astype(float)))
    return nest


def _stored_share(problem: Problem, tensor: str) -> float:
    """Share of a tensor's elements that is stored and moved."""
    compressed = any(form.tensor == tensor for form in problem.mode.formats)
    return problem.densities.get(tensor, 1.0) if compressed else 1.0


def _shares_after_skips(
    accelerator: Accelerator, problem: Problem, depth: int, tensor: str
) -> tuple[float, float]:
    """Least shares of the accesses, and of the fills, that SAFs leave of a tensor at a level.

    A tile of the condition holds something at least as often as one element does.
    """
    names = [level.name for level in accelerator.levels]
    here: set[str] = set()
    outside: set[str] = set()
    for action in problem.mode.actions:
        if action.target != tensor or action.type == "gating":
            continue
        holder = names.index(action.level)
        if action.type == "skipping":
            # The feature acts on the reads of the level that holds the target.
            holder = max(
                i for i, level in enumerate(accelerator.levels)
                if i <= holder and tensor in level.keep
            )  # fmt: skip
            if holder == depth:
                here |= set(action.condition_on)
        if holder < depth:
            outside |= set(action.condition_on)

    def share(conditions: set[str]) -> float:
        return prod(problem.densities.get(condition, 1.0) for condition in conditions)

    return share(here | outside), share(outside)


def _metadata_bits(
    problem: Problem, nest: list[_Loop], depth: int, tensor: str, rank: Rank | None
) -> FloatArray | float:
    """Bits of metadata that move with an element of the dense tensor."""
    if rank is None:
        return 0.0
    density = problem.densities.get(tensor, 1.0)
    filled = 1.0
    if problem.mode.distribution == "hypergeometric":
        filled = _HYPERGEOMETRIC_FILL
    if rank.format == "CP":
        return rank.bits * density * filled
    if rank.format != "B":
        return 0.0
    # A fiber of the innermost rank is as long as the innermost loop.
    dims = tensor_axes(problem)[tensor]
    fiber = np.ones(len(nest[0].factors)) if nest else np.ones(1)
    for each in reversed(nest):
        if each.level >= depth and each.dim in dims:
            fiber = np.where(fiber == 1, each.factors, fiber)
    return rank.bits * np.minimum(1.0, fiber * density) * filled
