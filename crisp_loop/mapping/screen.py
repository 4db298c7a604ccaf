"""Fast closed forms that find the candidates worth an exact evaluation.

Cycles are bounded below by the busiest resource and energy is dominated by words moved; both
follow from the loop factors alone, for all candidates and loop orders at once. The exact engine
decides among the survivors, so a coarse form here costs optimality at worst, never correctness.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.loops import DIMENSIONS
from crisp_loop.mapping.space import IntArray, MapSpace
from crisp_loop.render.spec import tensor_axes

FloatArray = npt.NDArray[np.float64]


def fitting(accelerator: Accelerator, problem: Problem, space: MapSpace) -> IntArray:
    """Indices of the candidates whose tiles fit every level's data and metadata store.

    Metadata is counted as a bit an element of a bitmap and an offset a stored weight; the exact
    engine refuses what still does not fit.
    """
    axes = tensor_axes(problem)
    fits = np.ones(len(space), dtype=bool)
    for level in accelerator.levels:
        if level.depth is None:
            continue
        words = np.zeros(len(space))
        bits = np.zeros(len(space))
        for tensor in level.keep:
            tile = _tile(space, axes[tensor], level.name)
            stored = np.ceil(tile * _share(problem, tensor))
            words += stored
            if any(f.tensor == tensor and level.name in f.levels for f in problem.mode.formats):
                bits += stored * problem.offset_bits if problem.pattern else tile
        fits &= words <= level.depth * level.width // level.datawidth
        if level.metadata and level.metadata.depth:
            fits &= bits <= level.metadata.depth * level.metadata.width
    return np.flatnonzero(fits)


def estimate(
    accelerator: Accelerator, problem: Problem, space: MapSpace, orders: tuple[str, ...]
) -> tuple[FloatArray, FloatArray]:
    """Lower bound on cycles, and pJ of the words moved at shared levels, (candidates,) each."""
    axes = tensor_axes(problem)
    count = len(space)
    cycles = arithmetic_cycles(problem, space)
    energy = np.zeros(count)
    for depth, level in enumerate(accelerator.levels):
        moved_read = np.zeros(count)
        moved_write = np.zeros(count)
        for tensor in level.keep:
            if tensor == "Z":
                outputs = np.full(count, float(np.prod([problem.bounds[d] for d in axes["Z"]])))
                moved_write += outputs if depth == 0 else 0.0
                continue
            children = [c for c in accelerator.levels[depth + 1 :] if tensor in c.keep]
            child = children[0].name if children else None
            moved = _share(problem, tensor) + _metadata(problem, tensor) / level.datawidth
            words = _fetched(space, axes[tensor], child, orders) * moved
            moved_read += words
            if depth > 0:
                moved_write += _fetched(space, axes[tensor], level.name, orders) * moved
        block = level.width / level.datawidth
        energy += moved_read / block * level.energy["read"]
        energy += moved_write / block * level.energy["write"]
        instances = accelerator.instances(level.name)
        if level.read_bandwidth:
            cycles = np.maximum(cycles, moved_read / instances / level.read_bandwidth)
        if level.write_bandwidth:
            cycles = np.maximum(cycles, moved_write / instances / level.write_bandwidth)
    return cycles, energy


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
            lanes *= slot.total or float(np.prod(limits))
    return _busy_lanes(problem) / lanes


def _busy_lanes(problem: Problem) -> float:
    """Lane-cycles of a problem. Lanes that hold candidates skip their zeros by themselves."""
    computes = float(np.prod([float(bound) for bound in problem.bounds.values()]))
    for tensor in problem.skipped_in_time:
        computes *= problem.densities[tensor]
    return computes * problem.cycle_correction


def _share(problem: Problem, tensor: str) -> float:
    """Share of a tensor's elements that is stored and moved."""
    return problem.densities.get(tensor, 1.0) if problem.mode.formats else 1.0


def _metadata(problem: Problem, tensor: str) -> float:
    """Bits of metadata that travel with an element of the dense tensor.

    A bitmap has a bit an element, offsets belong to the stored ones. Bandwidth counts both.
    """
    if not any(form.tensor == tensor for form in problem.mode.formats):
        return 0.0
    return _share(problem, tensor) * problem.offset_bits if problem.pattern else 1.0


def _tile(space: MapSpace, axes: tuple[str, ...], level: str) -> FloatArray:
    """Elements of a tensor's tile at ``level``: all its loops there and further in."""
    first = [slot.level for slot in space.slots].index(level)
    return np.prod(
        [space.factors[dim][:, first:].prod(axis=1) for dim in axes], axis=0, dtype=float
    )


def _fetched(
    space: MapSpace, axes: tuple[str, ...], child: str | None, orders: tuple[str, ...]
) -> FloatArray:
    """Words of a tensor that are read to fill ``child`` (the arithmetic if None) over the run.

    Each temporal loop outside the child re-reads the child's tile, except the innermost ones over
    dimensions that the tensor does not have (it stays). Spatial loops multiply the distinct words
    only along the tensor's own dimensions: copies travel by multicast.
    """
    outside = []  # (factors, relevant, spatial), innermost first
    names = [slot.level for slot in space.slots]
    last = len(names) if child is None else names.index(child)
    tile = np.ones(len(space)) if child is None else _tile(space, axes, child)
    for i in reversed(range(last)):
        slot = space.slots[i]
        for dim in orders[i]:
            outside.append((space.factors[dim][:, i], dim in axes, slot.kind == "spatial"))
    words = tile
    staying = np.ones(len(space), dtype=bool)
    for factors, relevant, is_spatial in outside:
        if is_spatial:
            if relevant:
                words = words * factors
            continue
        if relevant:
            words = words * factors
            staying &= factors == 1
        else:
            words = words * np.where(staying, 1, factors)
    return words
