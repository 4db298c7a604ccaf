"""Step 3, micro-architecture: capacity, vector accesses, energy, bandwidth and cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crisp_loop.core.errors import UnsupportedError
from crisp_loop.sparseloop.architecture import StorageLevel
from crisp_loop.sparseloop.arrays import Floats, Ints, in_order_sum, whole
from crisp_loop.sparseloop.dense import Design
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.representation import Representation
from crisp_loop.sparseloop.sparse import SparseAnalysis, SparseTraffic

# Blocks of compressed tiles do not fill up. Timeloop corrects for it while a tile has fewer
# blocks than this, by block size and tenth of density.
_BLOCK_THRESHOLDS = {
    2: (251, 125, 84, 63, 51, 42, 36, 32, 28, 1),
    4: (375, 188, 125, 94, 75, 63, 54, 47, 42, 1),
    8: (438, 219, 146, 110, 88, 73, 63, 55, 49, 1),
    16: (469, 235, 157, 118, 94, 79, 67, 59, 52, 1),
    32: (485, 243, 162, 122, 97, 81, 70, 61, 52, 1),
}


@dataclass(frozen=True)
class TensorCost:
    """One tensor at one level."""

    energy: Floats
    """pJ over all instances, leakage excluded."""
    capacity: Ints
    """Data words stored at most."""
    format_bits: dict[str, Ints]
    """Metadata bits read, filled and updated; (batch,) each."""


@dataclass(frozen=True)
class LevelCost:
    """One storage level."""

    cycles: Ints
    throttling: Floats
    demand: Floats
    """What the busiest port would need of its bandwidth to keep up with the arithmetic; above 1
    it throttles, and it is 0 where no bandwidth is limited."""
    reads: Floats
    """Words that an average instance reads in a cycle of the arithmetic, metadata included."""
    writes: Floats
    energy: Floats
    tensors: dict[int, TensorCost]


@dataclass(frozen=True)
class Cost:
    """All of step 3."""

    cycles: Ints
    energy: Floats
    """pJ."""
    utilization: Floats
    compute_cycles: Ints
    compute_energy: Floats
    levels: tuple[LevelCost, ...]


def analyse_cost(design: Design, sparse: SparseAnalysis, legality: Legality) -> Cost:
    """Cycles and energy of the filtered traffic."""
    compute, computes = design.architecture.compute, sparse.computes
    _check_mesh(design, sparse, legality)
    compute_energy = (
        computes.actual * compute.energy["compute"]
        + computes.skipped * compute.energy["skipped_compute"]
    )
    # Timeloop counts whole compute units in use.
    units = np.floor(sparse.compute_instances)
    legality.refuse(
        units < 1,
        lambda _: (
            f"{design.source}: spatial skipping leaves less than one unit of {compute.name} in use"
            " on average; timeloop-model then counts no cycles."
        ),
    )
    compute_cycles = whole(np.ceil(computes.actual / units))
    levels = []
    for level in range(len(design.architecture.levels)):
        tensors = {
            index: traffic
            for index in range(len(design.problem.tensors))
            if (traffic := sparse.traffic.get((level, index))) is not None
        }
        levels.append(_cost_level(design, sparse, level, tensors, compute_cycles, legality))
    cycles = np.max([compute_cycles, *(level.cycles for level in levels)], axis=0)
    energy = compute_energy
    for index, level in enumerate(levels):
        hardware = design.architecture.levels[index]
        if hardware.energy["leak"]:
            used = np.max(
                [
                    np.ones(len(cycles)),
                    *(
                        sparse.instances[index, tensor]
                        for tensor in range(len(design.problem.tensors))
                    ),
                ],
                axis=0,
            )
            leak = hardware.energy["leak"] * cycles * used
            level = replace(level, energy=level.energy + leak)
            levels[index] = level
        energy = energy + level.energy
    ideal = computes.actual / compute.mesh.instances
    return Cost(
        cycles=cycles,
        energy=energy,
        utilization=ideal / cycles,
        compute_cycles=compute_cycles,
        compute_energy=compute_energy,
        levels=tuple(levels),
    )


def _check_mesh(design: Design, sparse: SparseAnalysis, legality: Legality) -> None:
    """The instances that a mapping spreads over must exist, along both axes."""
    arch = design.architecture
    for entry, hardware in enumerate((arch.compute, *arch.levels)):
        name, mesh = hardware.name, hardware.mesh
        xs = np.max([each.x[:, entry] for each in sparse.expansion], axis=0)
        ys = np.max([each.y[:, entry] for each in sparse.expansion], axis=0)
        for what, needed, available in (
            ("along X", xs, mesh.x),
            ("along Y", ys, mesh.y),
            ("in all", xs * ys, mesh.instances),
        ):

            def reason(
                at: int,
                name: str = name,
                what: str = what,
                needed: Ints = needed,
                available: int = available,
            ) -> str:
                return (
                    f"{design.source}: the mapping spreads over {needed[at]} instances of {name}"
                    f" {what}; {available} are available."
                )

            legality.refuse(needed > available, reason)


def _cost_level(
    design: Design,
    sparse: SparseAnalysis,
    level: int,
    tensors: dict[int, SparseTraffic],
    compute_cycles: Ints,
    legality: Legality,
) -> LevelCost:
    hardware = design.architecture.levels[level]
    capacity = np.zeros_like(compute_cycles)
    metadata = np.zeros_like(compute_cycles)
    energy = np.zeros(len(compute_cycles))
    reads, writes = np.zeros(len(compute_cycles)), np.zeros(len(compute_cycles))
    costs: dict[int, TensorCost] = {}
    for index, traffic in tensors.items():
        stored = traffic.dense.tile
        if traffic.representation is not None:
            stored = traffic.representation.most
            metadata = metadata + _metadata_bits(traffic.representation)
        capacity = capacity + stored
        bits = _format_bits(traffic)
        per_instance = _energy(design, hardware, traffic, bits, legality)
        used = sparse.instances[level, index]
        total = np.where(used > 0, per_instance * used, 0.0)
        costs[index] = TensorCost(total, stored, bits)
        energy = energy + total
        # Bandwidth is that of an average instance, as not all get a non-empty tile.
        state = sparse.expansion[index]
        scale = (state.x[:, level + 1] * state.y[:, level + 1]) / used
        word = hardware.word_bits
        read = traffic.reads + bits["reads"] // word
        write = traffic.fills + traffic.updates + (bits["fills"] + bits["updates"]) // word
        reads = reads + np.ceil(read / scale) / compute_cycles
        writes = writes + np.ceil(write / scale) / compute_cycles
    _check_capacity(design, hardware, capacity, metadata, legality)
    limits = (hardware.read_bandwidth, hardware.write_bandwidth, hardware.shared_bandwidth)
    throttling, busiest = throttled(limits, reads, writes)
    cycles = whole(np.ceil(compute_cycles / throttling))
    return LevelCost(cycles, throttling, busiest, reads, writes, energy, costs)


def throttled(
    limits: Sequence[float | Floats | None], reads: Floats, writes: Floats
) -> tuple[Floats, Floats]:
    """How far a level's bandwidths slow the arithmetic down.

    Args:
        limits: Words a cycle that an instance reads, writes, and does in all; None without bound.
            Arrays are broadcast against ``reads``.
        reads: Words that it reads while the arithmetic takes a cycle.
        writes: The same for writing.

    Returns:
        :attr:`LevelCost.throttling` and :attr:`LevelCost.demand`.
    """
    throttling, busiest = np.ones(reads.shape), np.zeros(reads.shape)
    for limit, demand in zip(limits, (reads, writes, writes + reads), strict=True):
        if limit is not None:
            busiest = np.maximum(busiest, demand / limit)
            throttling = np.where(
                limit < demand, np.minimum(throttling, limit / demand), throttling
            )
    return throttling, busiest


def _metadata_bits(representation: Representation) -> Ints:
    return whole(np.ceil(representation.tree.bits(representation.most_words)))


def _check_capacity(
    design: Design, hardware: StorageLevel, data: Ints, metadata: Ints, legality: Legality
) -> None:
    if hardware.capacity is None:
        return
    for what, unit, needed, available in (
        ("data", "words", data, hardware.capacity),
        ("metadata", "bits", metadata, hardware.metadata_capacity),
    ):

        def reason(
            at: int,
            what: str = what,
            unit: str = unit,
            needed: Ints = needed,
            available: int = available,
        ) -> str:
            return (
                f"{design.source}: the mapping does not fit {hardware.name}: its tiles need"
                f" {needed[at]} {unit} of {what}, and {available} are available."
            )

        legality.refuse(needed > available, reason)


def _format_bits(traffic: SparseTraffic) -> dict[str, Ints]:
    """Metadata bits moved, by kind of access, (batch,) each."""
    none = np.zeros_like(traffic.reads)
    actions = ("reads", "fills", "updates", "skipped_reads", "skipped_updates")
    moved: dict[str, Ints] = dict.fromkeys(actions, none)
    if traffic.representation is not None:
        for action in moved:
            words: Ints | None = getattr(traffic.format, action)
            if words is not None:
                moved[action] = traffic.representation.tree.bits(words)
    return moved


def _energy(
    design: Design,
    hardware: StorageLevel,
    traffic: SparseTraffic,
    bits: dict[str, Ints],
    legality: Legality,
) -> Floats:
    """pJ of one instance: vector accesses times the energy of each action."""
    ratio = _block_ratio(design, hardware, traffic, legality)
    table, block = hardware.energy, hardware.block_size
    energy = np.zeros(len(ratio))
    for action, accesses in (
        ("read", traffic.reads),
        ("fill", traffic.fills),
        ("update", traffic.updates),
        ("skipped_read", traffic.skipped_reads),
        ("skipped_update", traffic.skipped_updates),
    ):
        energy = energy + -(-accesses // block) * ratio * table[action]
    if hardware.metadata_width:
        for action, kind in (
            ("metadata_read", "reads"),
            ("skipped_metadata_read", "skipped_reads"),
            ("metadata_fill", "fills"),
            ("metadata_update", "updates"),
            ("skipped_metadata_update", "skipped_updates"),
        ):
            energy = energy + np.ceil(bits[kind] / hardware.metadata_width) * table[action]
    return energy


def _block_ratio(
    design: Design, hardware: StorageLevel, traffic: SparseTraffic, legality: Legality
) -> Floats:
    """Vector accesses over scalar accesses / block size, for compressed tiles in few blocks."""
    batch, block = len(traffic.reads), hardware.block_size
    representation = traffic.representation
    if representation is None or block == 1:
        return np.ones(batch)
    density, tile = representation.density, traffic.dense.tile
    sparse = density < 1.0
    if block not in _BLOCK_THRESHOLDS:
        if sparse.any():
            raise UnsupportedError(
                f"{design.source}: {hardware.name} holds a compressed tensor in blocks of {block}"
                f" words; Timeloop knows {', '.join(map(str, _BLOCK_THRESHOLDS))}"
                " (data_storage_width / datawidth)."
            )
        return np.ones(batch)
    tenth = np.where(density >= 0.1, np.floor(density / 0.1) - 1, 0)
    thresholds = np.array(_BLOCK_THRESHOLDS[block])[np.clip(whole(tenth), 0, 9)]
    few = sparse & (thresholds > tile // block)
    if not few.any():
        return np.ones(batch)
    occupancies = representation.occupancies
    blocks = np.ceil(occupancies.counts / block) * occupancies.probabilities
    filled = in_order_sum(blocks, 1)[representation.group] / (tile * density / block)
    # A tile that Timeloop expects to be empty (density 0) is not accessed at all.
    return np.where(few & (density > 0), filled, 1.0)
