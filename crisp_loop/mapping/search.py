"""Search: the cheapest mapping of one GEMM on one design."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.loops import DIMENSIONS, LoopNest
from crisp_loop.core.spec import Spec
from crisp_loop.mapping.screen import FloatArray, arithmetic_cycles, estimate, fitting, least_cycles
from crisp_loop.mapping.space import MapSpace, mapspace
from crisp_loop.render import render_spec
from crisp_loop.sparseloop.model import evaluate_mappings

CYCLES_TOLERANCE = 0.01
"""Mappings this close in cycles tie; energy decides among them."""
FINALISTS = 64
"""Candidates that are evaluated exactly in a round. Rounds go on while none is legal, or while
the bound on the next candidates promises fewer cycles than the best so far."""
ROUNDS = 100
"""Rounds at most, so that a hopeless bound cannot make a search endless."""
PADDING_STEPS = (2, 4, 8, 16, 32, 64)
"""N may grow to the next multiple of these where its own factors serve a design badly."""
PADDING_LIMIT = 4 / 3
"""Largest growth of N by padding."""


@dataclass(frozen=True)
class Found:
    """A mapping with what the analytic engine says of it."""

    nest: LoopNest
    cycles: int
    """With what Sparseloop cannot express (DSTC's lanes) included."""
    energy_pJ: float
    candidates: int
    """Fitting factor splits that were compared, over all loop orders and paddings."""


@dataclass(frozen=True)
class _Ranked:
    """The candidates of one (padding, loop orders), with the closed forms' verdict."""

    problem: Problem
    space: MapSpace
    orders: tuple[str, ...]
    cycles: FloatArray
    energy: FloatArray


def best_mapping(accelerator: Accelerator, problem: Problem, name: str = "") -> Found:
    """The mapping with the fewest cycles; within 1 % of them, the least energy.

    N is padded only where that saves more than those 1 %.

    Args:
        accelerator: The design.
        problem: The GEMM as the design runs it.
        name: What to call the GEMM in messages.

    Raises:
        CrispLoopError: no mapping fits the design.
    """
    for relaxed in (False, True) if accelerator.relax else (False,):
        ranked = _rank(accelerator, problem, relaxed)
        if found := _decide(accelerator, ranked):
            return found
    raise CrispLoopError(
        f"{accelerator.name}: no mapping of {name or problem.key} fits its memories;"
        " give the design more SMEM, or relax its dataflow."
    )


def _rank(accelerator: Accelerator, problem: Problem, relaxed: bool) -> list[_Ranked]:
    """Every fitting candidate for N and for the paddings that could still win."""
    ranked: list[_Ranked] = []
    fewest = np.inf
    for n in paddings(problem.bounds["N"]):
        padded = problem.padded(n)
        if least_cycles(accelerator, padded) >= fewest * (1 - CYCLES_TOLERANCE):
            continue
        space = mapspace(accelerator, padded, relaxed)
        space = space.take(fitting(accelerator, padded, space))
        if not len(space):
            continue
        for orders in product(*(slot.orders for slot in space.slots)):
            cycles, energy = estimate(accelerator, padded, space, orders)
            ranked.append(_Ranked(padded, space, orders, cycles, energy))
            fewest = min(fewest, cycles.min())
    return ranked


def paddings(n: int) -> list[int]:
    """N and what it may be padded to, ascending."""
    grown = {-(-n // step) * step for step in PADDING_STEPS}
    return [n, *sorted(size for size in grown if n < size <= n * PADDING_LIMIT)]


def _decide(accelerator: Accelerator, ranked: list[_Ranked]) -> Found | None:
    """The best candidate by the exact engine, tried in the order of the closed forms."""
    if not ranked:
        return None
    cycles = np.concatenate([each.cycles for each in ranked])
    energy = np.concatenate([each.energy for each in ranked])
    source = np.repeat(np.arange(len(ranked)), [len(each.cycles) for each in ranked])
    within = np.concatenate([np.arange(len(each.cycles)) for each in ranked])
    best_first = np.lexsort((energy, np.floor(np.log(cycles) / CYCLES_TOLERANCE)))
    finals: list[tuple[float, float, LoopNest]] = []
    for start in range(0, min(len(best_first), ROUNDS * FINALISTS), FINALISTS):
        chosen = best_first[start : start + FINALISTS]
        for i in np.unique(source[chosen]):
            each = ranked[i]
            members = within[chosen[source[chosen] == i]]
            finals += evaluated(accelerator, each.problem, each.space.take(members), each.orders)
        if finals:
            fewest = min(final[0] for final in finals)
            following = best_first[start + FINALISTS : start + FINALISTS + 1]
            # The closed forms bound cycles from below, and the order is theirs.
            if all(cycles[following] >= fewest * (1 - CYCLES_TOLERANCE)):
                break
    if not finals:
        return None
    fewest = min(final[0] for final in finals)
    near = [final for final in finals if final[0] <= fewest * (1 + CYCLES_TOLERANCE)]
    final_cycles, final_energy, nest = min(
        near, key=lambda final: (final[2].bound("N"), final[1], final[0])
    )
    return Found(nest, int(final_cycles), final_energy, len(cycles))


def evaluated(
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
        sections: dict[str, Any] = {}
        for file, text in texts.items():
            sections |= _parsed(text, file)
        factors = {
            (slot.level, slot.kind): {dim: batch.factors[dim][:, i] for dim in DIMENSIONS}
            for i, slot in enumerate(batch.slots)
        }
        result = evaluate_mappings(Spec(accelerator.name, sections), factors)
        cycles = np.maximum(result.cycles, arithmetic_cycles(problem, batch))
        finals += [
            (float(cycles[i]), float(result.energy_pJ[i]), batch.nest(int(i), orders))
            for i in np.flatnonzero(result.legal)
        ]
    return finals


@lru_cache(maxsize=64)
def _parsed(text: str, file: str) -> dict[str, Any]:
    """A section as data. Most sections of one design and GEMM are the same text."""
    return parse_yaml(text, file)
