"""Step 2b, SAFs: how often a sparse acceleration feature finds nothing to do.

A *leader* tile (of the condition) that is empty lets the hardware drop the accesses to the
*follower* tile (of the target). Which tile leads follows from the loops between the level
that supplies the target and the level it supplies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crisp_loop.sparseloop.arrays import Floats, Ints, distinct_rows, whole
from crisp_loop.sparseloop.dense import DenseAnalysis, Design
from crisp_loop.sparseloop.optimizations import Skipping


def skipping_probability(design: Design, dense: DenseAnalysis, saf: Skipping) -> tuple[int, Floats]:
    """The level whose reads of the target are skipped, and with what probability."""
    level = design.nest.holder(saf.level, saf.target)
    assert level is not None  # the outermost level keeps everything
    factors = dense.factors
    loops = _loops_between(design, level, saf.target)
    flags = factors[:, loops] > 1
    distinct, group = distinct_rows(flags)
    effectual = np.ones(len(factors))
    for index, row in enumerate(distinct):
        rows = (group == index).nonzero()[0]
        nontrivial = {at for at, flag in zip(loops, row, strict=True) if flag}
        leaders = _leaders(design, level, saf, nontrivial)
        for condition in saf.conditions:
            tile = _leader_tile(design, leaders, saf.target, condition, level, factors[rows])
            if tile is not None:
                density = design.problem.tensors[condition].density
                effectual[rows] *= 1 - density.p_empty(tile)
    return level, 1 - effectual


def _loops_between(design: Design, level: int, tensor: int) -> range:
    child = design.nest.child(level, tensor)
    return design.nest.within(0 if child is None else child + 1, level)


@dataclass(frozen=True)
class _Leaders:
    """The loops that decide which tile leads, for one set of non-trivial loops."""

    target: int
    """Position of the loop that brings the next follower tile."""
    scalar: bool
    """The follower is a single element that the compute reads in every step."""
    resident: tuple[int, ...]
    """Loops above during which the follower stays: the leader covers them too."""


def _leaders(design: Design, level: int, saf: Skipping, nontrivial: set[int]) -> _Leaders:
    nest = design.nest
    dims = design.problem.tensors[saf.target].dims
    to_compute = nest.child(level, saf.target) is None
    between = _loops_between(design, level, saf.target)
    target, scalar = between.stop - 1, False
    if to_compute:
        # Space has no order: take the first relevant spatial loop, else the last one there is.
        for at in between:
            if not nest.loops[at + 1].spatial or (at in nontrivial and nest.loops[at].dim in dims):
                target = at
                scalar = not nest.loops[at + 1].spatial and not nest.loops[at].spatial
                break
    else:
        target = next(
            (at for at in between if at in nontrivial and nest.loops[at].dim in dims), target
        )
    spatial = nest.loops[target].spatial
    moved = not spatial
    resident = []
    for at in range(target + 1, between.stop):
        if at not in nontrivial:
            continue
        loop = nest.loops[at]
        stays = not moved and not loop.spatial and not to_compute and loop.dim not in dims
        if loop.spatial or stays:
            resident.append(at)
        if spatial and not loop.spatial and (to_compute or loop.dim in dims):
            moved = True
    return _Leaders(target, scalar, tuple(resident))


def _leader_tile(
    design: Design, leaders: _Leaders, target: int, condition: int, level: int, factors: Ints
) -> Ints | None:
    """Elements of the leader tile; None when the skip cannot be performed."""
    loops, tensors = design.nest.loops, design.problem.tensors
    shared = tensors[target].dims & tensors[condition].dims
    inside = () if leaders.scalar else range(leaders.target + 1)

    def sizes(positions: tuple[int, ...] | range) -> dict[str, Ints]:
        found = {dim: np.ones(len(factors), dtype=np.int64) for dim in design.problem.dims}
        for at in positions:
            found[loops[at].dim] = found[loops[at].dim] * factors[:, at]
        return found

    follower = sizes(inside)
    leader = sizes((*inside, *leaders.resident))
    # Loops that walk both tensors at once narrow the leader to one iteration of theirs.
    joint: dict[str, Ints] = {}
    together = np.ones(len(factors))
    for at in () if leaders.scalar else (leaders.target, *leaders.resident):
        dim = loops[at].dim
        if loops[leaders.target].spatial and joint and dim in tensors[condition].dims:
            return None  # the leader would have to be read out of order
        if dim in shared:
            joint[dim] = joint.get(dim, np.ones(len(factors), dtype=np.int64)) * factors[:, at]
            together = together * factors[:, at]
    granularity = _product(follower, tensors[target].dims, len(factors))
    # A vector access cannot skip part of a block, so the follower is a block at least.
    widen = np.ceil(design.architecture.levels[level].block_size / (granularity / together))
    for dim in (dim for dim in design.problem.dims if dim in joint):
        narrowing = joint[dim] / widen
        leader[dim] = whole(np.ceil(leader[dim] / narrowing))
        widen = widen / joint[dim]
    walked = loops[leaders.target].dim
    leader[walked] = np.where(widen > 1, whole(leader[walked] * widen), leader[walked])
    return _product(leader, tensors[condition].dims, len(factors))


def _product(sizes: dict[str, Ints], dims: frozenset[str], batch: int) -> Ints:
    product = np.ones(batch, dtype=np.int64)
    for dim in dims:
        product = product * sizes[dim]
    return product


@dataclass
class Expansion:
    """Spatial instances that a tensor needs at each level once empty ones are left out.

    Arrays are (batch, level + 1); entry 0 is the compute, entry l + 1 is level l.
    """

    x: Ints
    y: Ints
    share: Floats
    """Average share of the dense instances that hold non-empty tiles."""


def spatial_skipping(
    design: Design, dense: DenseAnalysis, has_format: set[tuple[int, int]]
) -> list[Expansion]:
    """Instances needed by each tensor under spatial skipping.

    A tensor with metadata leaves out its own empty instances; the target of a
    ``skipping_spatial`` leaves out those for which the condition's tile is empty. A level
    below a reduced one is reduced in proportion.
    """
    levels = len(design.nest.keeps)
    targets = {(saf.level, saf.target) for saf in design.optimizations.spatial_skipping}
    expansions: list[Expansion] = []
    for tensor in range(len(design.problem.tensors)):
        state = Expansion(
            dense.expansion_x.copy("K"),
            dense.expansion_y.copy("K"),
            np.ones_like(dense.expansion_x, dtype=np.float64),
        )
        reduced = np.zeros_like(state.share, dtype=np.bool_)
        for level in range(levels):
            holder = design.nest.holder(level, tensor)
            if holder is not None and (holder, tensor) in has_format:
                share = _leave_out(design, dense, state, level, tensor, tensor, None)
                state.share[:, level] = share
                reduced[:, level] = share != 1.0
        settled = _propagate(state, dense.expansion_x, dense.expansion_y, reduced)
        for saf in design.optimizations.spatial_skipping:
            if saf.target != tensor:
                continue
            (condition,) = saf.conditions
            holder = design.nest.holder(saf.level, condition)
            share = np.ones(len(dense.factors))
            if holder is not None and (holder, condition) in has_format:
                share = _leave_out(design, dense, state, saf.level, tensor, condition, tensor)
            state.share[:, saf.level] = share
        skips = np.zeros_like(state.share, dtype=np.bool_)
        for level in range(levels):
            skips[:, level] = (level, tensor) in targets
        _propagate(state, settled[0], settled[1], skips)
        expansions.append(state)
    return expansions


def _leave_out(
    design: Design,
    dense: DenseAnalysis,
    state: Expansion,
    level: int,
    tensor: int,
    condition: int,
    stationary: int | None,
) -> Floats:
    """Shrink the expansion below ``level`` to the non-empty tiles of ``condition``.

    Returns the average share of instances in use. ``stationary`` names the target whose tile
    stays in the instances while temporal loops run that do not move it.
    """
    nest = design.nest
    dims = design.problem.tensors[condition].dims
    density = design.problem.tensors[condition].density
    share = np.ones(len(dense.factors))
    captured = np.zeros(len(share), dtype=np.bool_)
    for at in nest.within(level, level):
        loop = nest.loops[at]
        if not loop.spatial or loop.dim not in dims:
            continue
        fanout = dense.factors[:, at]
        busy = fanout > 1
        tile = dense.tiles[condition][:, at - 1] if at else np.ones_like(fanout)
        if (
            stationary is not None
            and nest.child(level, stationary) is not None
            and loop.dim in design.problem.tensors[stationary].dims
        ):
            tile = tile * _resident(design, dense, level, stationary, dims)
        share = np.where(busy & ~captured, 1 - density.p_empty(tile), share)
        captured |= busy
        used = np.minimum(density.most(tile * fanout), fanout)
        ratio = used / fanout
        along = state.x if loop.axis == "X" else state.y
        along[:, level] = np.where(busy, whole(along[:, level] * ratio), along[:, level])
    return share


def _resident(
    design: Design, dense: DenseAnalysis, level: int, target: int, dims: frozenset[str]
) -> Ints:
    """How many of the condition's tiles pass while the target's tile stays."""
    nest = design.nest
    holder = nest.holder(level, target)
    assert holder is not None
    passing = np.ones(len(dense.factors), dtype=np.int64)
    staying = np.ones(len(dense.factors), dtype=np.bool_)
    for at in nest.within(level, holder):
        loop = nest.loops[at]
        if loop.spatial:
            continue
        if loop.dim in design.problem.tensors[target].dims:
            staying = staying & (dense.factors[:, at] == 1)
        elif loop.dim in dims:
            passing = np.where(staying, passing * dense.factors[:, at], passing)
    return passing


def _propagate(state: Expansion, x: Ints, y: Ints, boundary: np.ndarray) -> tuple[Ints, Ints]:
    """Pass reductions on to the levels below, down to the next that has its own.

    ``x`` and ``y`` are the expansions before; returns those after, of the levels.
    """
    for level in range(state.share.shape[1] - 1, 0, -1):
        x_ratio = state.x[:, level] / x[:, level]
        y_ratio = state.y[:, level] / y[:, level]
        changed = (x_ratio != 1.0) | (y_ratio != 1.0)
        if not changed.any():
            continue
        crossed = np.zeros(len(changed), dtype=np.bool_)
        for inner in range(level - 1, -1, -1):
            crossed |= boundary[:, inner]
            passed = changed & ~crossed
            state.share[:, inner] = np.where(
                passed, state.share[:, inner] * state.share[:, level], state.share[:, inner]
            )
            for along, ratio in ((state.x, x_ratio), (state.y, y_ratio)):
                along[:, inner] = np.where(changed, whole(along[:, inner] * ratio), along[:, inner])
    return state.x.copy("K"), state.y.copy("K")
