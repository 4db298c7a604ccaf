"""The mapspace: every legal split of a GEMM's loops over a design's slots.

The same freedom for every design: whatever its dataflow allows, as data in ``arch/*.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.accelerators.schema import Slot
from crisp_loop.core.loops import DIMENSIONS, LoopNest, Loops

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MapSpace:
    """All factor choices of one problem on one design; loop orders are chosen apart."""

    slots: tuple[Slot, ...]
    factors: dict[str, IntArray]
    """Dimension to int64 (candidates, slots)."""

    def __len__(self) -> int:
        return len(next(iter(self.factors.values())))

    def take(self, chosen: IntArray) -> MapSpace:
        """The candidates ``chosen`` by index."""
        return MapSpace(self.slots, {dim: table[chosen] for dim, table in self.factors.items()})

    def nest(self, candidate: int, orders: tuple[str, ...]) -> LoopNest:
        """Candidate number ``candidate`` with one loop order a slot."""
        return LoopNest(
            tuple(
                Loops(
                    level=slot.level,
                    kind=slot.kind,
                    factors={dim: int(self.factors[dim][candidate, i]) for dim in DIMENSIONS},
                    order=order,
                )
                for i, (slot, order) in enumerate(zip(self.slots, orders, strict=True))
            )
        )


def mapspace(accelerator: Accelerator, problem: Problem, relaxed: bool = False) -> MapSpace:
    """Every split of the problem's bounds into whole factors that the dataflow allows.

    Args:
        accelerator: The design with its slots.
        problem: The GEMM as the design runs it.
        relaxed: Whether the design's ``relax`` pairs are allowed too.
    """
    slots = accelerator.dataflow
    tables = []
    for dim in DIMENSIONS:
        limits = tuple(
            _limit(slot, dim, problem, relaxed and (slot.level, dim) in accelerator.relax)
            for slot in slots
        )
        step = problem.lane_step if dim == "K" else 1
        tables.append(
            _splits(problem.bounds[dim], limits, _lane_slot(slots) if step > 1 else -1, step)
        )
    sizes = [len(table) for table in tables]
    if not all(sizes):
        return MapSpace(slots, {d: np.ones((0, len(slots)), np.int64) for d in DIMENSIONS})
    picks = np.unravel_index(np.arange(np.prod(sizes)), sizes)
    factors = {dim: tables[i][picks[i]] for i, dim in enumerate(DIMENSIONS)}
    fits = np.ones(len(picks[0]), dtype=bool)
    for i, slot in enumerate(slots):
        if slot.total:
            product = np.prod([factors[dim][:, i] for dim in DIMENSIONS], axis=0)
            fits &= product <= slot.total
    space = MapSpace(slots, factors)
    return space if fits.all() else space.take(np.flatnonzero(fits))


def _limit(slot: Slot, dim: str, problem: Problem, relaxed: bool) -> int:
    """Largest factor of ``dim`` in ``slot``; the whole bound where there is no limit."""
    bound = problem.bounds[dim]
    if relaxed and slot.kind == "temporal":
        return bound
    allowed: dict[str, int | None] = {**slot.dims}
    if dim not in allowed:
        return 1
    limit = allowed[dim]
    if limit is None:
        return bound
    if slot.kind == "spatial" and dim == "K":
        limit = problem.lanes(limit)
    return min(limit, bound)


def _lane_slot(slots: tuple[Slot, ...]) -> int:
    """The slot whose K loop lies across the lanes."""
    return next(i for i, slot in enumerate(slots) if slot.kind == "spatial" and "K" in slot.dims)


@cache
def _splits(bound: int, limits: tuple[int, ...], lane_slot: int, step: int) -> IntArray:
    """All ways to write ``bound`` as one factor a slot: int64 (ways, slots).

    The factor at ``lane_slot`` is a multiple of ``step``.
    """
    rows: list[tuple[int, ...]] = []

    def extend(slot: int, rest: int, taken: tuple[int, ...]) -> None:
        if slot == len(limits):
            if rest == 1:
                rows.append(taken)
            return
        for factor in _divisors(rest):
            if factor > limits[slot]:
                break
            if slot == lane_slot and factor % step:
                continue
            extend(slot + 1, rest // factor, (*taken, factor))

    extend(0, bound, ())
    return np.array(rows, dtype=np.int64).reshape(-1, len(limits))


@cache
def _divisors(number: int) -> tuple[int, ...]:
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))
