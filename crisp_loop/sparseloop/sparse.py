"""Step 2, sparse modelling: formats and SAFs filter the dense traffic.

The order is Sparseloop's. The formats fix what exists at all; SAFs then drop accesses, at
their own level as *skipped* ones and below it altogether; last come the computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from crisp_loop.core.errors import UnsupportedError
from crisp_loop.sparseloop.columns import (
    Floats,
    Ints,
    anywhere,
    ceil,
    choose,
    floor,
    largest,
    ratio,
)
from crisp_loop.sparseloop.compute import Computes, filter_computes
from crisp_loop.sparseloop.dense import DenseAnalysis, DenseTraffic
from crisp_loop.sparseloop.formats import Words
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.parse import Design
from crisp_loop.sparseloop.representation import Key, Representation, represent
from crisp_loop.sparseloop.saf import Expansion, skipping_probability, spatial_skipping


@dataclass(slots=True)
class FormatTraffic:
    """Metadata and payload words that move; None where none do."""

    reads: Words | None
    fills: Words | None
    updates: Words | None
    skipped_reads: Words | None = None
    skipped_updates: Words | None = None


@dataclass(slots=True)
class SparseTraffic:
    """One tensor at one level: what happens of the dense traffic, per instance."""

    dense: DenseTraffic
    reads: Ints
    fills: Ints
    updates: Ints
    skipped_reads: Ints
    skipped_updates: Ints
    temporal_reductions: Ints
    representation: Representation | None = None
    format: FormatTraffic | None = None
    """None where there is no representation."""


@dataclass(frozen=True)
class SparseAnalysis:
    """Step 2 for all tensors and levels."""

    traffic: dict[Key, SparseTraffic]
    computes: Computes
    instances: dict[Key, Floats]
    """Instances in use on average, of every level and tensor, kept or not."""
    expansion: tuple[Expansion, ...]
    """A tensor: instances needed along X and Y."""
    compute_instances: Floats
    """Compute units in use on average."""


def analyse_sparse(design: Design, dense: DenseAnalysis, legality: Legality) -> SparseAnalysis:
    """Filter the dense traffic."""
    levels, tensors = range(len(design.nest.keeps)), range(len(design.problem.tensors))
    dense_instances = dense.instances
    total = dense_instances[0] * dense.iterations
    traffic = {key: _unfiltered(each) for key, each in dense.traffic.items()}
    compute_instances = dense_instances[0]
    expansion = (Expansion.full(dense),) * len(tensors)
    instances = {
        (level, tensor): dense_instances[level + 1] for level in levels for tensor in tensors
    }
    if not design.optimizations.present:
        computes = Computes(total, total, 0)
        return SparseAnalysis(traffic, computes, instances, expansion, compute_instances)

    for key, representation in represent(design, dense, legality).items():
        _apply_format(traffic[key], representation)
        instances[key] = instances[key] * representation.used

    skips: dict[Key, Floats] = {}
    for saf in design.optimizations.skipping:
        level, p = skipping_probability(design, dense, saf)
        skips[level, saf.target] = largest(p, skips.get((level, saf.target), 0.0))

    spatial: dict[Key, Floats] = {}
    if design.optimizations.spatial_skipping:
        formats = {key for key, each in traffic.items() if each.representation}
        expansion = tuple(spatial_skipping(design, dense, formats))
        for level, tensor in instances:
            share = expansion[tensor].share[level + 1]
            instances[level, tensor] = dense_instances[level + 1] * share
        for saf in design.optimizations.spatial_skipping:
            spatial[saf.level, saf.target] = 1 - expansion[saf.target].share[saf.level]
        busy = largest(*(each.share[0] for each in expansion))
        compute_instances = dense_instances[0] * busy
        _check_fanout(design, expansion, legality)

    left, absent = _filter_accesses(design, traffic, skips, spatial, total)
    compressed = {
        index: (design.nest.holder(0, index), index) in design.optimizations.formats
        for index in tensors
    }
    computes = filter_computes(design, total, left, absent, compressed, legality)
    return SparseAnalysis(traffic, computes, instances, expansion, compute_instances)


def _unfiltered(dense: DenseTraffic) -> SparseTraffic:
    return SparseTraffic(
        dense, dense.reads, dense.fills, dense.updates, 0, 0, dense.temporal_reductions
    )


def _apply_format(traffic: SparseTraffic, representation: Representation) -> None:
    """Zeros of a compressed tile are neither moved nor stored; its metadata is."""
    dense, words = traffic.dense, representation.words
    sparsity = 1 - representation.density

    def existing(accesses: Ints) -> Ints:
        return accesses - floor(accesses * sparsity)

    def metadata(accesses: Ints) -> Words | None:
        if not anywhere(accesses != 0):
            return None
        tiles = accesses / dense.tile
        return [ceil(each * tiles) for each in words]

    traffic.representation = representation
    traffic.reads, traffic.fills = existing(dense.reads), existing(dense.fills)
    traffic.format = FormatTraffic(
        metadata(dense.reads), metadata(dense.fills), metadata(dense.updates)
    )


@dataclass(slots=True)
class _Existing:
    """Accesses that the SAFs of the levels above leave to exist, as they are whittled down."""

    reads: Ints
    fills: Ints
    updates: Ints
    format: FormatTraffic | None

    @classmethod
    def before(cls, traffic: SparseTraffic) -> _Existing:
        """What the formats leave."""
        words = traffic.format
        own = FormatTraffic(words.reads, words.fills, words.updates) if words else None
        return cls(traffic.reads, traffic.fills, traffic.updates, own)

    def thin(self, p: Floats, ranks_above: int) -> None:
        """Drop a share ``p`` of all accesses; the level above has ``ranks_above`` ranks."""
        self.fills = self.fills - floor(self.fills * p)
        self.reads = self.reads - floor(self.reads * p)
        self.updates = self.updates - floor(self.updates * p)
        if ranks_above == 1 and self.format is not None:
            # Timeloop scales metadata only below a level of a single rank, and there rank 0.
            self.format.fills = _thinned(self.format.fills, p)
            self.format.reads = _thinned(self.format.reads, p)

    def settle(self, traffic: SparseTraffic) -> None:
        """Make them the actual accesses."""
        traffic.reads, traffic.fills = self.reads, self.fills
        traffic.updates = self.updates
        traffic.format = self.format


def _thinned(words: Words | None, p: Floats) -> Words | None:
    """A share ``p`` less of rank 0."""
    if words is None:
        return None
    return [*(each - floor(each * p) for each in words[:2]), *words[2:]]


def _filter_accesses(
    design: Design,
    traffic: dict[Key, SparseTraffic],
    skips: dict[Key, Floats],
    spatial: dict[Key, Floats],
    computes: Ints,
) -> tuple[Ints, dict[int, Floats]]:
    """Propagate every SAF from its level downwards.

    Returns the computes that are left, and for each input whose SAFs reach the compute the
    probability that the innermost of them drops the operand.
    """
    absent: dict[int, Floats] = {}
    levels, safs = range(len(design.nest.keeps)), skips.keys() | spatial.keys()
    for index, tensor in enumerate(design.problem.tensors):
        existing = {
            level: _Existing.before(traffic[level, index])
            for level in levels
            if (level, index) in traffic
        }
        with_saf = [level for level in levels if (level, index) in safs]
        for number, level in reversed(list(enumerate(with_saf))):
            key = (level, index)
            if key in skips and key in spatial:
                raise UnsupportedError(
                    f"{design.source}: {tensor.name} has skipping and skipping_spatial at"
                    f" {design.architecture.levels[level].name}; one level takes one of them."
                )
            p = skips.get(key, spatial.get(key, 0.0))
            here = traffic.get(key)
            ranks = len(here.representation.tree.level.ranks) if here and here.representation else 0
            # Below the next SAF that one's own probability, which is absolute, takes over.
            lower = with_saf[number - 1] if number else None
            for inner in range(level - 1, -1 if lower is None else lower - 1, -1):
                if inner in existing:
                    existing[inner].thin(p, ranks)
            if level == with_saf[-1] and level in existing:
                existing[level].settle(traffic[key])
                if key in skips:
                    _skip_here(design, traffic, level, index, p)
            if lower is not None and lower in existing:
                own = traffic[lower, index]
                existing[lower].settle(own)
                if (lower, index) in skips:
                    if own.format is not None:
                        # Timeloop takes the metadata reads from the updates here.
                        own.format.reads = own.format.updates
                    left = 1 - ratio(1 - skips[lower, index], 1 - p)
                    _skip_here(design, traffic, lower, index, left)
            if lower is None and not tensor.output:
                computes = computes - floor(computes * p)
                absent[index] = p
        for level, left_over in existing.items():
            if (level, index) not in skips:
                own = traffic[level, index]
                left_over.settle(own)
                own.temporal_reductions = _reductions(own)
    return computes, absent


def _skip_here(
    design: Design, traffic: dict[Key, SparseTraffic], level: int, index: int, p: Floats
) -> None:
    """Turn a share of the accesses at the SAF's own level into skipped ones."""
    own = traffic[level, index]
    output = design.problem.tensors[index].output
    wanted = own.reads * p
    own.skipped_reads = ceil(wanted) if output else floor(wanted)
    own.reads = own.reads - own.skipped_reads
    own.skipped_updates = floor(own.updates * p)
    own.updates = own.updates - own.skipped_updates
    if own.format is not None:
        # A read sends the ranks of the child; without a child, all.
        child = design.nest.child(level, index)
        sent = own if child is None else traffic[child, index]
        ranks = len(sent.representation.tree.level.ranks) if sent.representation else 0
        own.format.reads, own.format.skipped_reads = _split(own.format.reads, p, ranks)
        own.format.updates, own.format.skipped_updates = _split(own.format.updates, p, ranks)
    if output:
        own.temporal_reductions = _reductions(own)


def _split(words: Words | None, share: Floats, ranks: int) -> tuple[Words | None, Words | None]:
    """What is left of some words, and what is skipped: a share of the lowest ranks."""
    if words is None:
        return None, None
    skipped: Words = [floor(each * share) for each in words[: 2 * ranks]]
    skipped += [0] * (len(words) - len(skipped))
    left = [each - less for each, less in zip(words, skipped, strict=True)]
    return left, skipped


def _reductions(traffic: SparseTraffic) -> Ints:
    """Only updates that happen reduce."""
    updates = traffic.dense.updates
    # In floating point, as Timeloop does: their product is beyond whole numbers of 53 bits.
    share = ratio(traffic.temporal_reductions * (traffic.updates * 1.0), updates)
    return choose(updates == 0, 0, ceil(share))


def _check_fanout(design: Design, expansion: tuple[Expansion, ...], legality: Legality) -> None:
    """After spatial skipping the instances must fit below each level."""
    arch = design.architecture
    for tensor, state in zip(design.problem.tensors, expansion, strict=True):
        for level, hardware in enumerate(arch.levels):
            fanouts = zip("XY", (state.x, state.y), arch.fanouts[level], strict=True)
            for axis, along, available in fanouts:
                outer = along[level + 1]
                needed = along[level] // largest(outer, 1)
                legality.refuse(
                    (needed > available) | (outer < 1),
                    "spatial skipping leaves {} a fanout of {} along {} below {}; {} are available",
                    *(tensor.name, needed, axis, hardware.name, available),
                )
