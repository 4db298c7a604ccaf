"""Step 2b, SAFs: how often a sparse acceleration feature finds nothing to do.

A *leader* tile (of the condition) that is empty lets the hardware drop the accesses to the
*follower* tile (of the target). Which tile leads follows from the loops between the level
that supplies the target and the level it supplies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from crisp_loop.sparseloop.columns import (
    Flags,
    Floats,
    Ints,
    Rows,
    anywhere,
    cases,
    ceil,
    choose,
    least,
    merged,
    negated,
    plainly,
    ratio,
    take_each,
    whole,
)
from crisp_loop.sparseloop.dense import DenseAnalysis
from crisp_loop.sparseloop.nest import Nest
from crisp_loop.sparseloop.optimizations import Skipping
from crisp_loop.sparseloop.parse import Design


def skipping_probability(design: Design, dense: DenseAnalysis, saf: Skipping) -> tuple[int, Floats]:
    """The level whose reads of the target are skipped, and with what probability."""
    level = design.nest.holder(saf.level, saf.target)
    assert level is not None  # the outermost level keeps everything
    dims = design.problem.tensors[saf.target].dims
    loops = _loops_between(design.nest, level, saf.target)
    parts: list[tuple[Rows, Floats]] = []
    for rows, nontrivial in cases([dense.factors[at] > 1 for at in loops]):
        leaders = _leaders(design.nest, level, saf.target, dims, nontrivial)
        factors = take_each(dense.factors, rows)
        effectual: Floats = 1.0
        for condition in saf.conditions:
            tile = _leader_tile(design, leaders, saf.target, condition, level, factors)
            if tile is not None:
                effectual = effectual * (1 - design.problem.densities[condition].p_empty(tile))
        parts.append((rows, effectual))
    return level, 1 - merged(parts)


def _loops_between(nest: Nest, level: int, tensor: int) -> range:
    child = nest.child(level, tensor)
    return nest.within(0 if child is None else child + 1, level)


@dataclass(slots=True)
class _Leaders:
    """The loops that decide which tile leads, for one set of non-trivial loops."""

    target: int
    """Position of the loop that brings the next follower tile."""
    scalar: bool
    """The follower is a single element that the compute reads in every step."""
    resident: tuple[int, ...]
    """Loops above during which the follower stays: the leader covers them too."""


@lru_cache(maxsize=65536)
def _leaders(
    nest: Nest, level: int, tensor: int, dims: frozenset[str], flags: tuple[bool, ...]
) -> _Leaders:
    """``tensor`` is the target, ``dims`` move it; ``flags`` tell which loops are not trivial."""
    to_compute = nest.child(level, tensor) is None
    between = _loops_between(nest, level, tensor)
    nontrivial = {at for at, flag in zip(between, flags, strict=True) if flag}
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
    design: Design,
    leaders: _Leaders,
    target: int,
    condition: int,
    level: int,
    factors: Sequence[Ints],
) -> Ints | None:
    """Elements of the leader tile; None when the skip cannot be performed."""
    loops, tensors = design.nest.loops, design.problem.tensors
    shared = tensors[target].dims & tensors[condition].dims
    inside = () if leaders.scalar else range(leaders.target + 1)

    def sizes(positions: Iterable[int]) -> dict[str, Ints]:
        found: dict[str, Ints] = dict.fromkeys(design.problem.dims, 1)
        for at in positions:
            found[loops[at].dim] = found[loops[at].dim] * factors[at]
        return found

    follower = sizes(inside)
    leader = sizes((*inside, *leaders.resident))
    # Loops that walk both tensors at once narrow the leader to one iteration of theirs.
    joint: dict[str, Ints] = {}
    together: Ints = 1
    for at in () if leaders.scalar else (leaders.target, *leaders.resident):
        dim = loops[at].dim
        if loops[leaders.target].spatial and joint and dim in tensors[condition].dims:
            return None  # the leader would have to be read out of order
        if dim in shared:
            joint[dim] = joint.get(dim, 1) * factors[at]
            together = together * factors[at]
    granularity = _product(follower, tensors[target].dims)
    # A vector access cannot skip part of a block, so the follower is a block at least.
    widen = ceil(design.architecture.levels[level].block_size / (granularity / together))
    for dim in (dim for dim in design.problem.dims if dim in joint):
        narrowing = joint[dim] / widen
        leader[dim] = ceil(leader[dim] / narrowing)
        widen = widen / joint[dim]
    walked = loops[leaders.target].dim
    leader[walked] = choose(widen > 1, whole(leader[walked] * widen), leader[walked])
    return _product(leader, tensors[condition].dims)


def _product(sizes: dict[str, Ints], dims: frozenset[str]) -> Ints:
    product: Ints = 1
    for dim in dims:
        product = product * sizes[dim]
    return product


@dataclass(slots=True)
class Expansion:
    """Spatial instances that a tensor needs at each level once empty ones are left out.

    Lists are [level + 1]; entry 0 is the compute, entry l + 1 is level l.
    """

    x: list[Ints]
    y: list[Ints]
    share: list[Floats]
    """Average share of the dense instances that hold non-empty tiles."""

    @classmethod
    def full(cls, dense: DenseAnalysis) -> Expansion:
        """All instances that the mapping spreads over."""
        return cls([*dense.expansion_x], [*dense.expansion_y], [1.0] * len(dense.expansion_x))


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
        state = Expansion.full(dense)
        reduced: list[Flags] = [False] * len(state.share)
        for level in range(levels):
            holder = design.nest.holder(level, tensor)
            if holder is not None and (holder, tensor) in has_format:
                share = _leave_out(design, dense, state, level, tensor, None)
                state.share[level] = share
                reduced[level] = share != 1.0
        settled = _propagate(state, dense.expansion_x, dense.expansion_y, reduced)
        for saf in design.optimizations.spatial_skipping:
            if saf.target != tensor:
                continue
            (condition,) = saf.conditions
            holder = design.nest.holder(saf.level, condition)
            share: Floats = 1.0
            if holder is not None and (holder, condition) in has_format:
                share = _leave_out(design, dense, state, saf.level, condition, tensor)
            state.share[saf.level] = share
        skips = [(level, tensor) in targets for level in range(len(state.share))]
        _propagate(state, *settled, skips)
        expansions.append(state)
    return expansions


def _leave_out(
    design: Design,
    dense: DenseAnalysis,
    state: Expansion,
    level: int,
    condition: int,
    stationary: int | None,
) -> Floats:
    """Shrink the expansion below ``level`` to the non-empty tiles of ``condition``.

    Returns the average share of instances in use. ``stationary`` names the target whose tile
    stays in the instances while temporal loops run that do not move it.
    """
    nest = design.nest
    dims = design.problem.tensors[condition].dims
    density = design.problem.densities[condition]
    share: Floats = 1.0
    captured: Flags = False
    for at in nest.within(level, level):
        loop, fanout = nest.loops[at], dense.factors[at]
        if not loop.spatial or loop.dim not in dims or plainly(fanout, 1):
            continue
        busy = fanout > 1
        tile = dense.tiles[condition][at - 1] if at else 1
        if (
            stationary is not None
            and nest.child(level, stationary) is not None
            and loop.dim in design.problem.tensors[stationary].dims
        ):
            tile = tile * _resident(design, dense, level, stationary, dims)
        share = choose(busy & negated(captured), 1 - density.p_empty(tile), share)
        captured = captured | busy
        used = least(density.most(tile * fanout), fanout)
        along = state.x if loop.axis == "X" else state.y
        along[level] = choose(busy, whole(along[level] * (used / fanout)), along[level])
    return share


def _resident(
    design: Design, dense: DenseAnalysis, level: int, target: int, dims: frozenset[str]
) -> Ints:
    """How many of the condition's tiles pass while the target's tile stays."""
    nest = design.nest
    holder = nest.holder(level, target)
    assert holder is not None
    passing: Ints = 1
    staying: Flags = True
    for at in nest.within(level, holder):
        loop, factor = nest.loops[at], dense.factors[at]
        if loop.spatial or plainly(factor, 1):
            continue
        if loop.dim in design.problem.tensors[target].dims:
            staying = staying & (factor == 1)
        elif loop.dim in dims:
            passing = choose(staying, passing * factor, passing)
    return passing


def _propagate(
    state: Expansion, x: list[Ints], y: list[Ints], boundary: list[Flags]
) -> tuple[list[Ints], list[Ints]]:
    """Pass reductions on to the levels below, down to the next that has its own.

    ``x`` and ``y`` are the expansions before; returns those after, of the levels.
    """
    for level in range(len(state.share) - 1, 0, -1):
        x_ratio, y_ratio = ratio(state.x[level], x[level]), ratio(state.y[level], y[level])
        changed = (x_ratio != 1.0) | (y_ratio != 1.0)
        if not anywhere(changed):
            continue
        crossed: Flags = False
        for inner in range(level - 1, -1, -1):
            crossed = crossed | boundary[inner]
            passed = changed & negated(crossed)
            share = state.share[inner]
            state.share[inner] = choose(passed, share * state.share[level], share)
            for along, change in ((state.x, x_ratio), (state.y, y_ratio)):
                along[inner] = choose(changed, whole(along[inner] * change), along[inner])
    return [*state.x], [*state.y]
