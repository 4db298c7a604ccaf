"""Search: the cheapest mapping of one GEMM on one design."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.loops import DIMENSIONS, LoopNest
from crisp_loop.core.spec import Spec
from crisp_loop.mapping.screen import estimate, fitting
from crisp_loop.mapping.space import MapSpace, mapspace
from crisp_loop.render import render_spec
from crisp_loop.sparseloop.model import evaluate_mappings

CYCLES_TOLERANCE = 0.01
"""Mappings this close in cycles tie; energy decides among them."""
FINALISTS = 96
"""Candidates that are evaluated exactly, a loop order."""


@dataclass(frozen=True)
class Found:
    """A mapping with what the analytic engine says of it."""

    nest: LoopNest
    cycles: int
    energy_pJ: float
    candidates: int
    """Legal factor splits that were compared."""


def best_mapping(accelerator: Accelerator, problem: Problem, name: str = "") -> Found:
    """The mapping with the fewest cycles; within 1 % of them, the least energy.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        name: What to call the GEMM in messages.

    Raises:
        CrispLoopError: no mapping fits the design.
    """
    for relaxed in (False, True):
        space = mapspace(accelerator, problem, relaxed)
        if len(space):
            space = space.take(fitting(accelerator, problem, space))
        if len(space) and (found := _search(accelerator, problem, space)):
            return found
        if not accelerator.relax:
            break
    raise CrispLoopError(
        f"{accelerator.name}: no mapping of {name or problem.key} fits its memories;"
        " give the design more SMEM, or relax its dataflow."
    )


def _search(accelerator: Accelerator, problem: Problem, space: MapSpace) -> Found | None:
    finals: list[tuple[float, float, LoopNest]] = []
    for orders in product(*(slot.orders for slot in space.slots)):
        cycles, energy = estimate(accelerator, problem, space, orders)
        ranking = np.lexsort((energy, np.round(np.log(cycles) / CYCLES_TOLERANCE)))
        finals += _evaluated(accelerator, problem, space.take(ranking[:FINALISTS]), orders)
    if not finals:
        return None
    fewest = min(cycles for cycles, _, _ in finals)
    near = [final for final in finals if final[0] <= fewest * (1 + CYCLES_TOLERANCE)]
    cycles, energy, nest = min(near, key=lambda final: (final[1], final[0]))
    return Found(nest=nest, cycles=int(cycles), energy_pJ=energy, candidates=len(space))


def _evaluated(
    accelerator: Accelerator, problem: Problem, space: MapSpace, orders: tuple[str, ...]
) -> list[tuple[float, float, LoopNest]]:
    """(cycles, energy in pJ, nest) of the legal candidates, by the exact engine.

    Ranks belong to non-trivial loops, so a spec holds for the candidates that share which loops
    are trivial; each such group is one batch.
    """
    trivial = np.concatenate([space.factors[dim] == 1 for dim in DIMENSIONS], axis=1)
    _, group_of = np.unique(trivial, axis=0, return_inverse=True)
    finals = []
    for group in range(group_of.max() + 1):
        members = np.flatnonzero(group_of == group)
        batch = space.take(members)
        texts = render_spec(accelerator, problem, batch.nest(0, orders))
        sections = {}
        for file, text in texts.items():
            sections |= parse_yaml(text, file)
        factors = {
            (slot.level, slot.kind): {dim: batch.factors[dim][:, i] for dim in DIMENSIONS}
            for i, slot in enumerate(batch.slots)
        }
        result = evaluate_mappings(Spec(accelerator.name, sections), factors)
        finals += [
            (float(result.cycles[i]), float(result.energy_pJ[i]), batch.nest(int(i), orders))
            for i in np.flatnonzero(result.legal)
        ]
    return finals
