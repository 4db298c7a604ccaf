"""The engine's two public functions: one spec in full, or many loop factors of one spec."""

from __future__ import annotations

import marshal
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

import crisp_loop
from crisp_loop.core.evaluation import (
    Accesses,
    ComputeStats,
    Evaluation,
    FormatAccesses,
    LevelStats,
    TensorStats,
)
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.architecture import Architecture, parse_architecture
from crisp_loop.sparseloop.arrays import Bools, Floats, Ints, spread
from crisp_loop.sparseloop.dense import Design, analyse_dense, check_factors
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.gathers import parse_gathers
from crisp_loop.sparseloop.legality import IllegalMappingError, Legality
from crisp_loop.sparseloop.microarchitecture import Cost, LevelCost, TensorCost, analyse_cost
from crisp_loop.sparseloop.nest import Nest, Slot, parse_nest
from crisp_loop.sparseloop.optimizations import SparseOptimizations, parse_optimizations
from crisp_loop.sparseloop.problem import Problem, parse_problem
from crisp_loop.sparseloop.sparse import SparseAnalysis, SparseTraffic, analyse_sparse

_AT_ONCE = 4096
"""Mappings analysed together: enough to spread the cost of a step, few enough for the caches."""


@dataclass(frozen=True)
class BatchResult:
    """The scores of a batch of mappings, in their order."""

    cycles: Ints
    """0 where illegal."""
    compute_cycles: Ints
    """Of the arithmetic alone; 0 where illegal."""
    energy_pJ: Floats
    """nan where illegal."""
    legal: Bools
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
    return _report(design, *_analyse_one(design))


def port_demands(spec: Spec) -> dict[str, float]:
    """What each level's busiest port needs of its bandwidth to keep up with the arithmetic.

    1.0 is all of it, more is a bottleneck, 0.0 a level without a limit. Raises as :func:`evaluate`.
    """
    design = parse(spec)
    _, cost = _analyse_one(design)
    names = [level.name for level in design.architecture.levels]
    return {name: float(level.demand[0]) for name, level in zip(names, cost.levels, strict=True)}


def evaluate_mappings(spec: Spec, factors: Mapping[Slot, Mapping[str, Ints]]) -> BatchResult:
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
    all_factors = design.nest.factors(replaced, spec.source)
    parts = [
        _score(design, all_factors[start : start + _AT_ONCE])
        for start in range(0, max(1, len(all_factors)), _AT_ONCE)
    ]
    return BatchResult(
        cycles=np.concatenate([part.cycles for part in parts]),
        compute_cycles=np.concatenate([part.compute_cycles for part in parts]),
        energy_pJ=np.concatenate([part.energy_pJ for part in parts]),
        legal=np.concatenate([part.legal for part in parts]),
        reasons=tuple(reason for part in parts for reason in part.reasons),
    )


def _score(design: Design, factors: Ints) -> BatchResult:
    """The scores of some mappings; only those with sound factors are analysed."""
    batch = len(factors)
    cycles, compute_cycles = np.zeros((2, batch), dtype=np.int64)
    energy = np.full(batch, np.nan)
    checked = Legality(batch)
    check_factors(design, factors, checked)
    legal = checked.legal.copy()
    reasons = [""] * batch
    for index in (~legal).nonzero()[0].tolist():
        reasons[index] = checked.reason(index)
    rows = legal.nonzero()[0]
    if len(rows):
        analysed = Legality(len(rows))
        _, cost = _analyse(design, spread(factors, rows), analysed)
        sound = analysed.legal
        legal[rows] = sound
        cycles[rows[sound]] = cost.cycles[sound]
        compute_cycles[rows[sound]] = cost.compute_cycles[sound]
        energy[rows[sound]] = cost.energy[sound]
        for index in (~sound).nonzero()[0].tolist():
            reasons[rows[index]] = analysed.reason(index)
    return BatchResult(cycles, compute_cycles, energy, legal, tuple(reasons))


def parse(spec: Spec) -> Design:
    """The sections of a spec as data classes; anything unknown is refused by its path.

    Sections are remembered by their contents: specs of one design share most of them.
    """

    def section(name: str) -> Section:
        return Section.of(Field(spec.source, name, spec.sections[name]))

    hardware = section("architecture"), section("ERT")
    problem, mapping = section("problem"), section("mapping")
    sparse = section("sparse_optimizations") if "sparse_optimizations" in spec.sections else None
    optimizations = _optimizations(sparse, *hardware, problem)
    return Design(
        spec.source,
        _architecture(*hardware),
        _problem(problem),
        optimizations,
        _nest(mapping, *hardware, problem),
        parse_gathers(spec, _problem(problem), optimizations),
    )


@dataclass(frozen=True)
class Section:
    """A section that is equal to another one when its data is."""

    contents: object
    """Something hashable that stands for the data."""
    field: Field = field(compare=False)

    @classmethod
    def of(cls, section: Field) -> Section:
        """``section``, to be looked up by its contents."""
        try:
            # Version 2 writes equal data alike, whatever else refers to it.
            return cls(marshal.dumps(section.value, 2), section)
        except ValueError:  # YAML that holds more than plain data is unlike all others
            return cls(object(), section)


@lru_cache(maxsize=64)
def _architecture(architecture: Section, ert: Section) -> Architecture:
    return parse_architecture(architecture.field, ert.field)


@lru_cache(maxsize=256)
def _problem(problem: Section) -> Problem:
    return parse_problem(problem.field)


@lru_cache(maxsize=256)
def _optimizations(
    section: Section | None, architecture: Section, ert: Section, problem: Section
) -> SparseOptimizations:
    return parse_optimizations(
        section.field if section else None, _architecture(architecture, ert), _problem(problem)
    )


@lru_cache(maxsize=256)
def _nest(mapping: Section, architecture: Section, ert: Section, problem: Section) -> Nest:
    return parse_nest(mapping.field, _architecture(architecture, ert), _problem(problem))


def _analyse_one(design: Design) -> tuple[SparseAnalysis, Cost]:
    """The steps for the factors of the spec itself."""
    factors = design.nest.factors({}, design.source)
    legality = Legality(1)
    check_factors(design, factors, legality)
    analysed = _analyse(design, factors, legality) if legality.legal[0] else None
    if reason := legality.reason(0):
        raise IllegalMappingError(reason)
    assert analysed is not None
    return analysed


def _analyse(design: Design, factors: Ints, legality: Legality) -> tuple[SparseAnalysis, Cost]:
    """Sparseloop's three steps."""
    # Figures of mappings that turn out illegal may be divided by nothing; nobody sees them.
    with np.errstate(divide="ignore", invalid="ignore"):
        dense = analyse_dense(design, factors)
        sparse = analyse_sparse(design, dense, legality)
        return sparse, analyse_cost(design, sparse, legality)


def _report(design: Design, sparse: SparseAnalysis, cost: Cost) -> Evaluation:
    """The figures of a batch of one."""
    compute, computes = design.architecture.compute, sparse.computes
    levels = tuple(
        _report_level(design, sparse, index, level) for index, level in enumerate(cost.levels)
    )
    return Evaluation(
        spec=design.source,
        engine="analytic",
        engine_version=crisp_loop.__version__,
        cycles=int(cost.cycles[0]),
        energy_uJ=float(cost.energy[0]) * 1e-6,
        utilization=float(cost.utilization[0]),
        compute=ComputeStats(
            name=compute.name,
            instances=compute.mesh.instances,
            utilized_instances=math.floor(sparse.compute_instances[0]),
            cycles=int(cost.compute_cycles[0]),
            algorithmic=int(computes.algorithmic[0]),
            actual=int(computes.actual[0]),
            gated=0,
            skipped=int(computes.skipped[0]),
            energy_pJ=float(cost.compute_energy[0]),
        ),
        levels=levels,
    )


def _report_level(
    design: Design, sparse: SparseAnalysis, index: int, level: LevelCost
) -> LevelStats:
    return LevelStats(
        name=design.architecture.levels[index].name,
        cycles=int(level.cycles[0]),
        throttling=float(level.throttling[0]),
        tensors={
            design.problem.tensors[tensor].name: _report_tensor(
                sparse.traffic[index, tensor], float(sparse.instances[index, tensor][0]), each
            )
            for tensor, each in level.tensors.items()
        },
        energy_pJ=float(level.energy[0]),
    )


def _report_tensor(traffic: SparseTraffic, instances: float, cost: TensorCost) -> TensorStats:
    def accesses(dense: Ints, actual: Ints, skipped: Ints | None = None) -> Accesses:
        return Accesses(
            algorithmic=int(dense[0]),
            actual=int(actual[0]),
            skipped=0 if skipped is None else int(skipped[0]),
        )

    def words(kind: str) -> FormatAccesses:
        # Like timeloop-model, say nothing of a kind of access that moves no bits.
        if traffic.format is None or not cost.format_bits[kind][0]:
            return FormatAccesses()
        each = getattr(traffic.format, kind)
        return FormatAccesses(tuple((int(rank[0]), int(rank[1])) for rank in each[0]))

    dense = traffic.dense
    return TensorStats(
        tile_shape=int(dense.tile[0]),
        utilized_capacity=int(cost.capacity[0]),
        instances=instances,
        reads=accesses(dense.reads, traffic.reads, traffic.skipped_reads),
        fills=accesses(dense.fills, traffic.fills),
        updates=accesses(dense.updates, traffic.updates, traffic.skipped_updates),
        format_reads=words("reads"),
        format_fills=words("fills"),
        format_updates=words("updates"),
        temporal_reductions=int(traffic.temporal_reductions[0]),
        energy_pJ=float(cost.energy[0]),
    )
