"""A region of the mapspace: all factor splits under one padding of N and one choice of orders.

It knows a lower bound of every candidate, and lets the analytic engine price some.
"""

from __future__ import annotations

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.loops import DIMENSIONS, LoopNest
from crisp_loop.core.spec import Spec
from crisp_loop.mapping.bounds import InnerRanks, Rank, lower_bounds
from crisp_loop.mapping.objective import Costs
from crisp_loop.mapping.space import IntArray, MapSpace
from crisp_loop.render import spec_of
from crisp_loop.render.spec import tensor_axes
from crisp_loop.sparseloop.model import evaluate_mappings

FORMATS = ("sparse_optimizations",)


class Region:
    """Candidates that differ in their factors alone."""

    def __init__(
        self, accelerator: Accelerator, problem: Problem, space: MapSpace, orders: tuple[str, ...]
    ) -> None:
        self.accelerator = accelerator
        self.problem = problem
        self.space = space
        self.orders = orders
        self._first = spec_of(accelerator, problem, self.nest(0))
        ranks = inner_ranks(self._first)
        self.lower: Costs = lower_bounds(accelerator, problem, space, orders, ranks)
        """What each candidate costs at least."""
        self.batch: IntArray = _alike(problem, space)
        """(candidates,) candidates of one number share a spec but for their factors."""

    def __len__(self) -> int:
        return len(self.space)

    def nest(self, candidate: int) -> LoopNest:
        """The mapping of one candidate."""
        return self.space.nest(candidate, self.orders)

    def price(self, candidates: IntArray) -> Costs:
        """What candidates of one batch cost by the engine; illegal ones cost infinitely much.

        Cycles are with what Sparseloop cannot express (DSTC's lanes).
        """
        chosen = self.space.take(candidates)
        factors = {
            (slot.level, slot.kind): {dim: chosen.factors[dim][:, i] for dim in DIMENSIONS}
            for i, slot in enumerate(chosen.slots)
        }
        result = evaluate_mappings(self._spec(int(candidates[0])), factors)
        correction = self.problem.cycle_correction
        cycles = corrected_cycles(result.cycles, result.compute_cycles, correction)
        return Costs(
            np.where(result.legal, cycles, np.inf), np.where(result.legal, result.energy_pJ, np.inf)
        )

    def _spec(self, candidate: int) -> Spec:
        """The spec of a candidate's batch; beside factors only the formats tell batches apart."""
        nest = self.nest(candidate)
        formats = spec_of(self.accelerator, self.problem, nest, sections=FORMATS)
        sections = self._first.sections | formats.sections
        return Spec(self._first.source, sections, gathers=self._first.gathers)


def inner_ranks(spec: Spec) -> InnerRanks:
    """The innermost rank of every compressed tensor of a rendered spec."""
    found: dict[tuple[str, str], Rank] = {}
    for target in spec.sections.get("sparse_optimizations", {}).get("targets", []):
        for form in target.get("representation_format", {}).get("data_spaces", []):
            innermost = form["ranks"][-1]
            bits = innermost.get("metadata_word_bits", 0)
            found[form["name"], target["name"]] = Rank(innermost["format"], bits)
    return found


def _alike(problem: Problem, space: MapSpace) -> IntArray:
    """Number of the rendered spec of each candidate.

    Ranks belong to loops that are not trivial, so a spec's formats hold for the candidates that
    share which loops over the compressed tensors are trivial.
    """
    axes = tensor_axes(problem)
    dims = sorted({dim for form in problem.mode.formats for dim in axes[form.tensor]})
    if not dims:
        return np.zeros(len(space), dtype=np.int64)
    trivial = np.concatenate([space.factors[dim] == 1 for dim in dims], axis=1)
    # A row of flags is a binary number; a slot that never has the loop adds nothing to it.
    varying = trivial[:, trivial.any(axis=0) & ~trivial.all(axis=0)]
    return varying @ (1 << np.arange(varying.shape[1], dtype=np.int64))
