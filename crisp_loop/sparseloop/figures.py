"""The form that every engine fills, filled from the arrays of an analysis."""

from __future__ import annotations

import math

import crisp_loop
from crisp_loop.core.evaluation import (
    Accesses,
    ComputeStats,
    Evaluation,
    FormatAccesses,
    LevelStats,
    TensorStats,
)
from crisp_loop.sparseloop.columns import Ints, entry
from crisp_loop.sparseloop.microarchitecture import Cost, LevelCost, TensorCost
from crisp_loop.sparseloop.parse import Design
from crisp_loop.sparseloop.sparse import SparseAnalysis, SparseTraffic

_NO_ACCESSES, _NO_WORDS = Accesses(), FormatAccesses()


def figures(design: Design, sparse: SparseAnalysis, cost: Cost, at: int = 0) -> Evaluation:
    """The figures of mapping number ``at`` of the batch that was analysed."""
    compute, computes = design.architecture.compute, sparse.computes
    levels = tuple(
        _of_level(design, sparse, index, level, at) for index, level in enumerate(cost.levels)
    )
    return Evaluation(
        spec=design.source,
        engine="analytic",
        engine_version=crisp_loop.__version__,
        cycles=entry(cost.cycles, at),
        energy_uJ=float(entry(cost.energy, at)) * 1e-6,
        utilization=float(entry(cost.utilization, at)),
        compute=ComputeStats(
            name=compute.name,
            instances=compute.mesh.instances,
            utilized_instances=math.floor(entry(sparse.compute_instances, at)),
            cycles=entry(cost.compute_cycles, at),
            algorithmic=entry(computes.algorithmic, at),
            actual=entry(computes.actual, at),
            gated=0,
            skipped=entry(computes.skipped, at),
            energy_pJ=float(entry(cost.compute_energy, at)),
        ),
        levels=levels,
    )


def _of_level(
    design: Design, sparse: SparseAnalysis, index: int, level: LevelCost, at: int
) -> LevelStats:
    return LevelStats(
        name=design.architecture.levels[index].name,
        cycles=entry(level.cycles, at),
        throttling=float(entry(level.throttling, at)),
        tensors={
            design.problem.tensors[tensor].name: _of_tensor(
                sparse.traffic[index, tensor],
                float(entry(sparse.instances[index, tensor], at)),
                each,
                at,
            )
            for tensor, each in level.tensors.items()
        },
        energy_pJ=float(entry(level.energy, at)),
    )


def _of_tensor(traffic: SparseTraffic, instances: float, cost: TensorCost, at: int) -> TensorStats:
    def accesses(dense: Ints, actual: Ints, skipped: Ints = 0) -> Accesses:
        numbers = entry(dense, at), entry(actual, at), 0, entry(skipped, at)
        return Accesses(*numbers) if any(numbers) else _NO_ACCESSES

    def words(kind: str) -> FormatAccesses:
        # Like timeloop-model, say nothing of a kind of access that moves no bits.
        if traffic.format is None or not entry(getattr(cost.format_bits, kind), at):
            return _NO_WORDS
        moved = [entry(each, at) for each in getattr(traffic.format, kind)]
        return FormatAccesses(tuple(zip(moved[::2], moved[1::2], strict=True)))

    dense = traffic.dense
    return TensorStats(
        tile_shape=entry(dense.tile, at),
        utilized_capacity=entry(cost.capacity, at),
        instances=instances,
        reads=accesses(dense.reads, traffic.reads, traffic.skipped_reads),
        fills=accesses(dense.fills, traffic.fills),
        updates=accesses(dense.updates, traffic.updates, traffic.skipped_updates),
        format_reads=words("reads"),
        format_fills=words("fills"),
        format_updates=words("updates"),
        temporal_reductions=entry(traffic.temporal_reductions, at),
        energy_pJ=float(entry(cost.energy, at)),
    )
