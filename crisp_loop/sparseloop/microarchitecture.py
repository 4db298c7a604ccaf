"""Step 3, micro-architecture: capacity, vector accesses, energy, bandwidth and cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crisp_loop.core.errors import UnsupportedError
from crisp_loop.sparseloop.architecture import StorageLevel
from crisp_loop.sparseloop.columns import (
    Floats,
    Ints,
    anywhere,
    ceil,
    choose,
    floor,
    largest,
    least,
    lookup,
    ratio,
    take,
)
from crisp_loop.sparseloop.formats import Words
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.parse import Design
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


@dataclass(slots=True)
class FormatBits:
    """Metadata bits that move, by kind of access."""

    reads: Ints = 0
    fills: Ints = 0
    updates: Ints = 0
    skipped_reads: Ints = 0
    skipped_updates: Ints = 0


@dataclass(slots=True)
class TensorCost:
    """One tensor at one level."""

    energy: Floats
    """pJ over all instances, leakage excluded."""
    capacity: Ints
    """Data words stored at most."""
    format_bits: FormatBits


@dataclass(slots=True)
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
    units = floor(sparse.compute_instances)
    legality.refuse(
        units < 1,
        "spatial skipping leaves less than one unit of {} in use on average; timeloop-model then"
        " counts no cycles",
        compute.name,
    )
    compute_cycles = ceil(computes.actual / units)
    tensors = range(len(design.problem.tensors))
    levels = [
        _cost_level(
            design,
            sparse,
            level,
            {
                index: sparse.traffic[level, index]
                for index in tensors
                if (level, index) in sparse.traffic
            },
            compute_cycles,
            legality,
        )
        for level in range(len(design.architecture.levels))
    ]
    cycles = largest(compute_cycles, *(level.cycles for level in levels))
    energy = compute_energy
    for index, level in enumerate(levels):
        leak = design.architecture.levels[index].energy["leak"]
        if leak:
            used = largest(1.0, *(sparse.instances[index, tensor] for tensor in tensors))
            level.energy = level.energy + leak * cycles * used
        energy = energy + level.energy
    ideal = computes.actual / compute.mesh.instances
    return Cost(
        cycles=cycles,
        energy=energy,
        utilization=ratio(ideal, cycles),
        compute_cycles=compute_cycles,
        compute_energy=compute_energy,
        levels=tuple(levels),
    )


def _check_mesh(design: Design, sparse: SparseAnalysis, legality: Legality) -> None:
    """The instances that a mapping spreads over must exist, along both axes."""
    arch = design.architecture
    xs = [largest(*each) for each in zip(*(each.x for each in sparse.expansion), strict=True)]
    ys = [largest(*each) for each in zip(*(each.y for each in sparse.expansion), strict=True)]
    for hardware, x, y in zip((arch.compute, *arch.levels), xs, ys, strict=True):
        mesh = hardware.mesh
        for what, needed, available in (
            ("along X", x, mesh.x),
            ("along Y", y, mesh.y),
            ("in all", x * y, mesh.instances),
        ):
            legality.refuse(
                needed > available,
                "the mapping spreads over {} instances of {} {}; {} are available",
                *(needed, hardware.name, what, available),
            )


def _cost_level(
    design: Design,
    sparse: SparseAnalysis,
    level: int,
    tensors: dict[int, SparseTraffic],
    compute_cycles: Ints,
    legality: Legality,
) -> LevelCost:
    hardware = design.architecture.levels[level]
    capacity: Ints = 0
    metadata: Ints = 0
    energy: Floats = 0.0
    reads: Floats = 0.0
    writes: Floats = 0.0
    costs: dict[int, TensorCost] = {}
    for index, traffic in tensors.items():
        stored = traffic.dense.tile
        if traffic.representation is not None:
            representation = traffic.representation
            stored = representation.most
            most_bits = representation.tree.bits(representation.most_words)
            metadata = metadata + ceil(most_bits)
        capacity = capacity + stored
        bits = _format_bits(traffic)
        per_instance = _energy(design, hardware, traffic, bits)
        used = sparse.instances[level, index]
        total = choose(used > 0, per_instance * used, 0.0)
        costs[index] = TensorCost(total, stored, bits)
        energy = energy + total
        # Bandwidth is that of an average instance, as not all get a non-empty tile.
        state = sparse.expansion[index]
        scale = ratio(state.x[level + 1] * state.y[level + 1], used)
        word = hardware.word_bits
        read = traffic.reads + bits.reads // word
        write = traffic.fills + traffic.updates + (bits.fills + bits.updates) // word
        reads = reads + ratio(ceil(read / scale), compute_cycles)
        writes = writes + ratio(ceil(write / scale), compute_cycles)
    _check_capacity(design, hardware, capacity, metadata, legality)
    limits = (hardware.read_bandwidth, hardware.write_bandwidth, hardware.shared_bandwidth)
    throttling, busiest = throttled(limits, reads, writes)
    cycles = ceil(ratio(compute_cycles, throttling))
    return LevelCost(cycles, throttling, busiest, reads, writes, energy, costs)


def throttled(
    limits: Sequence[Floats | None], reads: Floats, writes: Floats
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
    throttling: Floats = 1.0
    busiest: Floats = 0.0
    for limit, demand in zip(limits, (reads, writes, writes + reads), strict=True):
        if limit is not None:
            busiest = largest(busiest, demand / limit)
            slowed = least(throttling, ratio(limit, demand))
            throttling = choose(limit < demand, slowed, throttling)
    return throttling, busiest


def _check_capacity(
    design: Design, hardware: StorageLevel, data: Ints, metadata: Ints, legality: Legality
) -> None:
    if hardware.capacity is None:
        return
    for what, needed, available in (
        ("words of data", data, hardware.capacity),
        ("bits of metadata", metadata, hardware.metadata_capacity),
    ):
        legality.refuse(
            needed > available,
            "the mapping does not fit {}: its tiles need {} {}, and {} are available",
            *(hardware.name, needed, what, available),
        )


def _format_bits(traffic: SparseTraffic) -> FormatBits:
    representation, moved = traffic.representation, traffic.format
    if representation is None or moved is None:
        return _NO_BITS

    def bits(words: Words | None) -> Ints:
        return 0 if words is None else representation.tree.bits(words)

    return FormatBits(
        bits(moved.reads),
        bits(moved.fills),
        bits(moved.updates),
        bits(moved.skipped_reads),
        bits(moved.skipped_updates),
    )


_NO_BITS = FormatBits()


def _energy(
    design: Design,
    hardware: StorageLevel,
    traffic: SparseTraffic,
    bits: FormatBits,
) -> Floats:
    """pJ of one instance: vector accesses times the energy of each action."""
    filling = _block_filling(design, hardware, traffic)
    table, block = hardware.energy, hardware.block_size
    energy = (
        -(-traffic.reads // block) * filling * table["read"]
        + -(-traffic.fills // block) * filling * table["fill"]
        + -(-traffic.updates // block) * filling * table["update"]
        + -(-traffic.skipped_reads // block) * filling * table["skipped_read"]
        + -(-traffic.skipped_updates // block) * filling * table["skipped_update"]
    )
    if width := hardware.metadata_width:
        energy = (
            energy
            + ceil(bits.reads / width) * table["metadata_read"]
            + ceil(bits.skipped_reads / width) * table["skipped_metadata_read"]
            + ceil(bits.fills / width) * table["metadata_fill"]
            + ceil(bits.updates / width) * table["metadata_update"]
            + ceil(bits.skipped_updates / width) * table["skipped_metadata_update"]
        )
    return energy


def _block_filling(design: Design, hardware: StorageLevel, traffic: SparseTraffic) -> Floats:
    """Vector accesses over scalar accesses / block size, for compressed tiles in few blocks."""
    block, representation = hardware.block_size, traffic.representation
    if representation is None or block == 1:
        return 1.0
    density, tile = representation.density, traffic.dense.tile
    sparse = density < 1.0
    if block not in _BLOCK_THRESHOLDS:
        if anywhere(sparse):
            raise UnsupportedError(
                f"{design.source}: {hardware.name} holds a compressed tensor in blocks of {block}"
                f" words; Timeloop knows {', '.join(map(str, _BLOCK_THRESHOLDS))}"
                " (data_storage_width / datawidth)."
            )
        return 1.0
    tenth = choose(density >= 0.1, floor(density / 0.1) - 1, 0)
    thresholds = lookup(_BLOCK_THRESHOLDS[block], least(largest(tenth, 0), 9))
    few = sparse & (thresholds > tile // block)
    if not anywhere(few):
        return 1.0
    (blocks,) = representation.occupancies.expected(lambda count: [ceil(count / block)])
    filled = ratio(take(blocks, representation.kind), tile * density / block)
    # A tile that Timeloop expects to be empty (density 0) is not accessed at all.
    return choose(few & (density > 0), filled, 1.0)
