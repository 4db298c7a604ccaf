"""Search: the best mapping of one GEMM on one design, by branch and bound.

The mapspace falls into regions. A lower bound says of every candidate what it costs at least;
the analytic engine prices candidates in the order of their bounds, and the search is over when
the lowest bound that is left is no better than the best mapping. What it finds is therefore the
optimum of the mapspace by the exact engine, not of the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.loops import LoopNest
from crisp_loop.mapping.bounds import fitting, ideal
from crisp_loop.mapping.objective import (
    DEFAULT_OBJECTIVE,
    OBJECTIVES,
    Costs,
    Metric,
    Objective,
    cycles_of,
)
from crisp_loop.mapping.region import Region
from crisp_loop.mapping.space import IntArray, mapspace

WORTH_PADDING = 1.01
"""N is padded only where every smaller N costs more than this many times as much."""
PADDING_STEPS = (2, 4, 8, 16, 32, 64)
"""N may grow to the next multiple of these where its own factors serve a design badly."""
PADDING_LIMIT = 4 / 3
"""Largest growth of N by padding."""
BATCH = 512
"""Candidates of one region that are priced together."""


@dataclass(frozen=True)
class Found:
    """The best mapping with what the analytic engine says of it."""

    nest: LoopNest
    cycles: int
    """With what Sparseloop cannot express (DSTC's lanes) included."""
    energy_pJ: float
    candidates: int
    """Mappings in the mapspace whose tiles may fit, over all loop orders and paddings."""
    evaluated: int
    """Those that the engine had to price; the bounds rule the others out."""


def best_mapping(
    accelerator: Accelerator,
    problem: Problem,
    name: str = "",
    objective: Objective = OBJECTIVES[DEFAULT_OBJECTIVE],
) -> Found:
    """The best mapping in the design's mapspace.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        name: What to call the GEMM in messages.
        objective: What is best.

    Raises:
        CrispLoopError: no mapping fits the design.
    """
    for relaxed in (False, True) if accelerator.relax else (False,):
        if found := _least_padded(accelerator, problem, relaxed, objective):
            return found
    raise CrispLoopError(
        f"{accelerator.name}: no mapping of {name or problem.key} fits its memories;"
        " give the design more SMEM, or relax its dataflow."
    )


def paddings(n: int) -> list[int]:
    """N and what it may be padded to, ascending."""
    grown = {-(-n // step) * step for step in PADDING_STEPS}
    return [n, *sorted(size for size in grown if n < size <= n * PADDING_LIMIT)]


def _least_padded(
    accelerator: Accelerator, problem: Problem, relaxed: bool, objective: Objective
) -> Found | None:
    """The best mapping at N, or at a padding of it that saves enough over every smaller one."""
    chosen: _Search | None = None
    best = np.inf
    candidates = priced = 0
    for n in paddings(problem.bounds["N"]):
        padded = problem.padded(n)
        if objective.first(ideal(accelerator, padded))[0] >= best / WORTH_PADDING:
            continue
        space = mapspace(accelerator, padded, relaxed)
        space = space.take(fitting(accelerator, padded, space))
        if not len(space):
            continue
        orders = product(*(slot.orders for slot in space.slots))
        search = _Search([Region(accelerator, padded, space, each) for each in orders])
        least = search.least(objective.first, below=best / WORTH_PADDING)
        if least < best / WORTH_PADDING:
            chosen, best = search, least
        candidates += len(search)
        priced += search.priced
    if chosen is None:
        return None
    before = chosen.priced
    region, number, costs = chosen.best(objective, best * (1 + objective.tolerance))
    return Found(
        nest=region.nest(number),
        cycles=int(costs.cycles[0]),
        energy_pJ=float(costs.energy_pJ[0]),
        candidates=candidates,
        evaluated=priced + chosen.priced - before,
    )


class _Search:
    """The candidates of some regions as one list, and what is known of each."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = regions
        sizes = [len(region) for region in regions]
        self.region = np.repeat(np.arange(len(regions)), sizes)
        self.number = np.concatenate([np.arange(size) for size in sizes])
        """Of a candidate in its region."""
        self.batch = np.concatenate([region.batch for region in regions])
        self.lower = Costs(
            np.concatenate([region.lower.cycles for region in regions]),
            np.concatenate([region.lower.energy_pJ for region in regions]),
        )
        self.cost = Costs(*(np.full(len(self.region), np.nan) for _ in range(2)))
        """By the engine; nan where it was not asked, infinite where it refuses."""

    def __len__(self) -> int:
        return len(self.region)

    @property
    def priced(self) -> int:
        """Candidates that the engine was asked for."""
        return int((~np.isnan(self.cost.cycles)).sum())

    def best(self, objective: Objective, limit: float) -> tuple[Region, int, Costs]:
        """The least ``objective.second`` among candidates whose ``first`` is within ``limit``.

        Returns:
            Its region, its number there, and what it costs.
        """
        first, second = objective.first, objective.second
        self.least(second, first, limit)
        contenders = np.flatnonzero(first(self.cost) <= limit)
        costs = self.cost.of(contenders)
        winner = contenders[np.lexsort((first(costs), second(costs)))[:1]]
        region = self.regions[int(self.region[winner[0]])]
        return region, int(self.number[winner[0]]), self.cost.of(winner)

    def least(
        self,
        metric: Metric,
        limited: Metric = cycles_of,
        limit: float = np.inf,
        below: float = np.inf,
    ) -> float:
        """The least ``metric`` among candidates whose ``limited`` is within ``limit``.

        Candidates are priced in the order of their bounds until none that is left can be better.
        Infinite where none is legal; where none is ``below`` that, any number that is not either.
        """
        lower = metric(self.lower)

        def least_priced(candidates: IntArray) -> float:
            costs = self.cost.of(candidates)
            allowed = limited(costs) <= limit
            return float(metric(costs)[allowed].min(initial=np.inf))

        unpriced = np.isnan(self.cost.cycles)
        best = min(below, least_priced(np.flatnonzero(~unpriced)))
        waiting = np.flatnonzero(unpriced & (limited(self.lower) <= limit) & (lower < best))
        waiting = waiting[np.argsort(lower[waiting], kind="stable")]
        while len(waiting) and lower[waiting[0]] < best:
            waiting = waiting[: np.searchsorted(lower[waiting], best)]
            head = waiting[0]
            alike = self.batch[waiting] == self.batch[head]
            alike &= self.region[waiting] == self.region[head]
            places = np.flatnonzero(alike)[:BATCH]
            self._price(waiting[places])
            best = min(best, least_priced(waiting[places]))
            waiting = np.delete(waiting, places)
        return best

    def _price(self, candidates: IntArray) -> None:
        """Ask the engine for candidates of one region and batch."""
        region = self.regions[int(self.region[candidates[0]])]
        costs = region.price(self.number[candidates])
        self.cost.cycles[candidates] = costs.cycles
        self.cost.energy_pJ[candidates] = costs.energy_pJ
