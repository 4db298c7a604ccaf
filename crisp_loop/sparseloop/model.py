"""The engine's public functions: one spec in full, many specs, or many loop factors of one spec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.columns import (
    FlagArray,
    FloatArray,
    IntArray,
    Ints,
    Rows,
    agreed,
    filled,
    take,
)
from crisp_loop.sparseloop.dense import analyse_dense, check_factors
from crisp_loop.sparseloop.figures import figures
from crisp_loop.sparseloop.legality import IllegalMappingError, Legality
from crisp_loop.sparseloop.microarchitecture import Cost, analyse_cost
from crisp_loop.sparseloop.nest import Slot
from crisp_loop.sparseloop.parse import Design, parse, structure
from crisp_loop.sparseloop.sparse import SparseAnalysis, analyse_sparse

_AT_ONCE = 4096
"""Mappings analysed together: enough to spread the cost of a step, few enough for the caches."""


@dataclass(frozen=True)
class BatchResult:
    """The scores of a batch of mappings, in their order."""

    cycles: IntArray
    """0 where illegal."""
    compute_cycles: IntArray
    """Of the arithmetic alone; 0 where illegal."""
    energy_pJ: FloatArray
    """nan where illegal."""
    legal: FlagArray
    reasons: tuple[str, ...]
    """Why a mapping is illegal, in one sentence; empty where it is legal."""


def evaluate(spec: Spec) -> Evaluation:
    """Cycles and energy of one rendered spec, with every count that timeloop-model prints.

    Raises:
        InputError: a field that cannot be used, by its path.
        UnsupportedError: a construct that the engine does not model, by its path.
        IllegalMappingError: a mapping that timeloop-model refuses too.
    """
    design = parse(spec)
    return figures(design, *_analyse_given(design))


def evaluate_specs(specs: Sequence[Spec]) -> Iterator[Evaluation]:
    """:func:`evaluate` for many specs, in order, with those that are alike analysed together.

    Specs are alike when they differ in nothing but bounds and loop factors: layers of one network
    on one design, mostly.

    Raises:
        CrispLoopError: as :func:`evaluate` of the first spec, in order, that is refused.
    """
    found: dict[int, Evaluation] = {}
    for part in analyse_together(specs):
        for at, number in enumerate(part.numbers):
            if part.legal[at]:
                found[number] = figures(part.designs[at], part.sparse, part.cost, at)
    for number, spec in enumerate(specs):
        yield found.get(number) or evaluate(spec)


@dataclass(frozen=True)
class Together:
    """Specs that are alike, analysed in one batch."""

    numbers: tuple[int, ...]
    """Which of all specs they are."""
    legal: FlagArray
    """Whether each can be run; what the analysis says of the others means nothing."""
    designs: tuple[Design, ...]
    """They differ in bounds and loop factors alone."""
    sparse: SparseAnalysis
    cost: Cost


def analyse_together(specs: Sequence[Spec]) -> Iterator[Together]:
    """The analysis of specs, those that are alike in one batch; refused ones are in none."""
    alike: dict[object, list[tuple[int, Design]]] = {}
    for number, spec in enumerate(specs):
        with contextlib.suppress(CrispLoopError):  # whoever misses it asks evaluate
            design = parse(spec)
            alike.setdefault(structure(design), []).append((number, design))
    for group in alike.values():
        for start in range(0, len(group), _AT_ONCE):
            yield from _analyse_alike(group[start : start + _AT_ONCE])


def _analyse_alike(group: Sequence[tuple[int, Design]]) -> Iterator[Together]:
    """Designs of one structure in one batch; none where the whole batch is refused."""
    sound: list[tuple[int, Design]] = []
    for number, design in group:
        with contextlib.suppress(CrispLoopError):
            check_factors(design, design.given, Legality(design.source))
            sound.append((number, design))
    if not sound:
        return
    numbers, designs = zip(*sound, strict=True)
    legality = Legality(designs[0].source)
    given = np.array([design.given for design in designs])
    factors = [agreed(column) for column in given.T.copy()]
    try:
        sparse, cost = _analyse(designs[0], factors, legality)
    except CrispLoopError:
        return
    yield Together(numbers, filled(legality.legal, len(sound)), designs, sparse, cost)


def port_demands(spec: Spec) -> dict[str, float]:
    """What each level's busiest port needs of its bandwidth to keep up with the arithmetic.

    1.0 is all of it, more is a bottleneck, 0.0 a level without a limit. Raises as :func:`evaluate`.
    """
    design = parse(spec)
    _, cost = _analyse_given(design)
    names = [level.name for level in design.architecture.levels]
    return {name: float(level.demand) for name, level in zip(names, cost.levels, strict=True)}


def evaluate_mappings(spec: Spec, factors: Mapping[Slot, Mapping[str, IntArray]]) -> BatchResult:
    """Score many mappings that differ from the spec's in their loop factors only.

    Args:
        spec: A rendered spec; loop orders, what levels keep, formats (with their lists of
            ranks) and SAFs are taken from it.
        factors: (target, "temporal" | "spatial") of a directive to dimension to the factors
            of the batch, arrays of one length. What is not named keeps the spec's factor.

    Raises:
        InputError, UnsupportedError: as :func:`evaluate`. An illegal mapping raises nothing.
    """
    design = parse(spec)
    replaced = {
        slot: {dim: np.asarray(values, dtype=np.int64) for dim, values in dims.items()}
        for slot, dims in factors.items()
    }
    sizes = {len(values) for dims in replaced.values() for values in dims.values()}
    if len(sizes) > 1:
        raise CrispLoopError(f"{spec.source}: factor arrays of different lengths: {sorted(sizes)}.")
    size = sizes.pop() if sizes else 1
    columns = design.nest.replaced(design.given, replaced, spec.source)
    parts = [
        _score(design, columns, slice(start, min(start + _AT_ONCE, size)))
        for start in range(0, max(1, size), _AT_ONCE)
    ]
    return BatchResult(
        cycles=np.concatenate([part.cycles for part in parts]),
        compute_cycles=np.concatenate([part.compute_cycles for part in parts]),
        energy_pJ=np.concatenate([part.energy_pJ for part in parts]),
        legal=np.concatenate([part.legal for part in parts]),
        reasons=tuple(reason for part in parts for reason in part.reasons),
    )


def _score(design: Design, factors: Sequence[Ints], part: slice) -> BatchResult:
    """The scores of some mappings; only those with sound factors are analysed."""
    batch = part.stop - part.start
    cycles, compute_cycles = np.zeros((2, batch), dtype=np.int64)
    energy, legal, reasons = np.full(batch, np.nan), np.zeros(batch, dtype=np.bool_), [""] * batch
    checked, analysed = Legality(design.source), Legality(design.source)
    cost = None
    with contextlib.suppress(IllegalMappingError):  # all of them are, and the reasons are kept
        if batch:
            columns = _of(factors, part)
            check_factors(design, columns, checked)
            if checked.legal is not True:
                columns = _of(columns, checked.legal)
            _, cost = _analyse(design, columns, analysed)
    rows = filled(checked.legal, batch).nonzero()[0]
    sound = filled(analysed.legal, len(rows))
    if cost:
        legal[rows] = sound
        cycles[legal] = take(cost.cycles, sound)
        compute_cycles[legal] = take(cost.compute_cycles, sound)
        energy[legal] = take(cost.energy, sound)
    for index in np.setdiff1d(np.arange(batch), rows).tolist():
        reasons[index] = checked.reason(index)
    for index in (~sound).nonzero()[0].tolist():
        reasons[rows[index]] = analysed.reason(index)
    return BatchResult(cycles, compute_cycles, energy, legal, tuple(reasons))


def _of(factors: Sequence[Ints], rows: Rows) -> list[Ints]:
    """The factors of some mappings, as plain numbers where these agree."""
    return [
        agreed(factor[rows]) if isinstance(factor, np.ndarray) else factor for factor in factors
    ]


def _analyse_given(design: Design) -> tuple[SparseAnalysis, Cost]:
    """The steps for the factors of the spec itself."""
    legality = Legality(design.source)
    check_factors(design, design.given, legality)
    return _analyse(design, design.given, legality)


def _analyse(
    design: Design, factors: Sequence[Ints], legality: Legality
) -> tuple[SparseAnalysis, Cost]:
    """Sparseloop's three steps."""
    # Figures of mappings that turn out illegal may be divided by nothing; nobody sees them.
    with np.errstate(divide="ignore", invalid="ignore"):
        dense = analyse_dense(design, factors)
        sparse = analyse_sparse(design, dense, legality)
        return sparse, analyse_cost(design, sparse, legality)
