"""Step 2, sparse modelling: formats and SAFs filter the dense traffic.

The order is Sparseloop's: the formats fix what exists at all; SAFs then drop accesses, at
their own level as *skipped* ones and below it altogether; last come the computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.arrays import Floats, Ints, first_rows, in_order_sum, whole
from crisp_loop.sparseloop.dense import DenseAnalysis, DenseTraffic, Design
from crisp_loop.sparseloop.density import Density, Occupancies
from crisp_loop.sparseloop.formats import Fibertree, RankLevel, build_trees
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.saf import Expansion, skipping_probability, spatial_skipping

Key = tuple[int, int]
"""(level, tensor)."""


@dataclass(frozen=True)
class Representation:
    """How a compressed tile is stored at one level."""

    tree: Fibertree
    occupancies: Occupancies
    """Of the distinct trees in the batch."""
    group: Ints
    """(batch,) which of the distinct trees each one is."""
    density: Floats
    """Expected, on condition that the parent sends the tile at all."""
    used: Floats
    """Share of the instances that get a non-empty tile."""
    words: Floats
    """(batch, rank, 2) expected metadata and payload words of a tile."""
    most: Ints
    """Data words at most."""
    most_words: Floats
    """(batch, rank, 2) at that occupancy."""


@dataclass
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
    format_reads: Ints | None = None
    """(batch, rank, 2) metadata and payload words, as the next four."""
    format_fills: Ints | None = None
    format_updates: Ints | None = None
    skipped_format_reads: Ints | None = None
    skipped_format_updates: Ints | None = None


@dataclass(frozen=True)
class Computes:
    """Totals over all compute units."""

    algorithmic: Ints
    actual: Ints
    skipped: Ints


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
    compute_expansion: tuple[Ints, Ints]


def analyse_sparse(design: Design, dense: DenseAnalysis, legality: Legality) -> SparseAnalysis:
    """Filter the dense traffic."""
    levels, tensors = len(design.nest.keeps), design.problem.tensors
    total = dense.instances[:, 0] * dense.iterations
    traffic = {key: _unfiltered(each) for key, each in dense.traffic.items()}
    instances = {
        (level, tensor): dense.instances[:, level + 1].astype(np.float64)
        for level in range(levels)
        for tensor in range(len(tensors))
    }
    if not design.optimizations.present:
        ones = np.ones(dense.expansion_x.shape)
        everything = Expansion(dense.expansion_x, dense.expansion_y, ones)
        return SparseAnalysis(
            traffic=traffic,
            computes=Computes(total, total, np.zeros_like(total)),
            instances=instances,
            expansion=(everything,) * len(tensors),
            compute_instances=dense.instances[:, 0].astype(np.float64),
            compute_expansion=(dense.expansion_x[:, 0], dense.expansion_y[:, 0]),
        )

    for key, representation in represent(design, dense, legality).items():
        traffic[key].representation = representation
        instances[key] = instances[key] * representation.used
        _apply_format(traffic[key], representation)

    skips: dict[Key, Floats] = {}
    for saf in design.optimizations.skipping:
        level, probability = skipping_probability(design, dense, saf)
        before = skips.get((level, saf.target), np.full_like(probability, -1.0))
        skips[level, saf.target] = np.where(before < probability, probability, before)

    shape = dense.expansion_x.shape
    expansion = tuple(
        Expansion(dense.expansion_x, dense.expansion_y, np.ones(shape)) for _ in tensors
    )
    compute_instances = dense.instances[:, 0].astype(np.float64)
    spatial: dict[Key, Floats] = {}
    if design.optimizations.spatial_skipping:
        formats = {key for key, each in traffic.items() if each.representation}
        expansion = tuple(spatial_skipping(design, dense, formats))
        for level, tensor in instances:
            share = expansion[tensor].share[:, level + 1]
            instances[level, tensor] = dense.instances[:, level + 1] * share
        for saf in design.optimizations.spatial_skipping:
            spatial[saf.level, saf.target] = 1 - expansion[saf.target].share[:, saf.level]
        compute_instances = np.max(
            [dense.instances[:, 0] * each.share[:, 0] for each in expansion], axis=0
        )
        _check_fanout(design, expansion, legality)

    operands = _filter_accesses(design, traffic, skips, spatial)
    computes = _filter_computes(design, total, traffic, operands, legality)
    return SparseAnalysis(
        traffic=traffic,
        computes=computes,
        instances=instances,
        expansion=expansion,
        compute_instances=compute_instances,
        compute_expansion=(
            np.max([each.x[:, 0] for each in expansion], axis=0),
            np.max([each.y[:, 0] for each in expansion], axis=0),
        ),
    )


def _unfiltered(dense: DenseTraffic) -> SparseTraffic:
    none = np.zeros_like(dense.reads)
    return SparseTraffic(
        dense, dense.reads, dense.fills, dense.updates, none, none, dense.temporal_reductions
    )


# Formats


def represent(
    design: Design, dense: DenseAnalysis, legality: Legality
) -> dict[Key, Representation]:
    """The expected and the largest metadata of every compressed tile."""
    nest, formats = design.nest, design.optimizations.formats
    found: dict[Key, Representation] = {}
    for index, tensor in enumerate(design.problem.tensors):
        kept = [level for level in range(len(nest.keeps)) if nest.keeps[level][index]]
        check_chain(design, index, kept)
        if not any((level, index) in formats for level in kept):
            continue
        levels, below = [], -1
        for level in kept:
            between = nest.within(below + 1, level)
            loops = tuple(
                (at, nest.loops[at].dim) for at in between if nest.loops[at].dim in tensor.dims
            )
            levels.append(RankLevel(formats[level, index], loops))
            below = level
        trees, problems = build_trees(tuple(levels), dense.factors, dense.tiles[index])
        for level, tree, texts in zip(kept, trees, problems, strict=True):
            name = design.architecture.levels[level].name

            def reason(
                at: int, name: str = name, tensor: str = tensor.name, texts: list[str] = texts
            ) -> str:
                return f"{design.source}: the format of {tensor} at {name} does not fit the mapping: {texts[at]}."

            legality.refuse(np.array([bool(text) for text in texts]), reason)
            found[level, index] = _represent(
                tree, tensor.density, has_parent=nest.parent(level, index) is not None
            )
    return found


def _represent(tree: Fibertree, density: Density, has_parent: bool) -> Representation:
    # Mappings of a batch share most trees; do the costly part once for each distinct one.
    alike, group = first_rows(np.column_stack([tree.tile, tree.fiber, tree.coordinate]))
    each = Fibertree(tree.ranks, tree.tile[alike], tree.fiber[alike], tree.coordinate[alike])
    occupancies = density.occupancies(each.tile)
    # An empty tile is not sent by a parent that knows from its metadata.
    conditional = occupancies.smallest_is_zero & has_parent
    p = occupancies.given_not_empty(conditional)
    most = density.most(each.tile)
    counts = np.concatenate([occupancies.counts, most[:, None]], axis=1)
    words = each.occupancy(density, counts)
    return Representation(
        tree=tree,
        occupancies=occupancies,
        group=group,
        density=(in_order_sum(p * occupancies.counts, 1) / each.tile)[group],
        used=np.where(conditional, 1 - occupancies.first, 1.0)[group],
        words=in_order_sum(words[:, :, :-1] * p[:, None, :, None], 2)[group],
        most=most[group],
        most_words=words[:, :, -1][group],
    )


def check_chain(design: Design, tensor: int, kept: list[int]) -> None:
    """A tensor is compressed at all its levels or at none, with no more ranks further in."""
    formats = design.optimizations.formats
    levels, name = design.architecture.levels, design.problem.tensors[tensor].name
    for inner, outer in zip(kept, kept[1:], strict=False):
        names = f"{name} is", f"at {levels[outer].name}", f"at {levels[inner].name}"
        mine, theirs = formats.get((inner, tensor)), formats.get((outer, tensor))
        if (mine is None) != (theirs is None):
            states = ("compressed", "uncompressed") if theirs else ("uncompressed", "compressed")
            raise CrispLoopError(
                f"{design.source}: {names[0]} {states[0]} {names[1]} but {states[1]} {names[2]};"
                " nothing in between converts it."
            )
        if mine and theirs and len(mine) > len(theirs):
            raise CrispLoopError(
                f"{design.source}: {names[0]} written in {len(theirs)} ranks {names[1]} but in"
                f" {len(mine)} {names[2]}; an outer level needs as many ranks at least."
            )


def _apply_format(traffic: SparseTraffic, representation: Representation) -> None:
    """Zeros of a compressed tile are neither moved nor stored; its metadata is."""
    dense, words = traffic.dense, representation.words
    sparsity = 1 - representation.density

    def existing(accesses: Ints) -> Ints:
        return whole(accesses - np.floor(accesses * sparsity))

    def metadata(accesses: Ints) -> Ints:
        return whole(np.ceil(words * (accesses / dense.tile)[:, None, None]))

    traffic.reads, traffic.fills = existing(dense.reads), existing(dense.fills)
    traffic.format_reads = metadata(dense.reads)
    traffic.format_fills = metadata(dense.fills)
    traffic.format_updates = metadata(dense.updates)
    traffic.skipped_format_reads = np.zeros_like(traffic.format_reads)
    traffic.skipped_format_updates = np.zeros_like(traffic.format_reads)


# SAFs


@dataclass
class _Existing:
    """Accesses that the SAFs of the levels above leave to exist, as they are whittled down."""

    reads: Floats
    fills: Floats
    updates: Floats
    format_reads: Ints | None = None
    format_fills: Ints | None = None
    format_updates: Ints | None = None

    def thin(self, p: Floats, ranks_above: int) -> None:
        """Drop a share ``p`` of all accesses; the level above has ``ranks_above`` ranks."""
        self.fills = self.fills - np.floor(self.fills * p)
        self.reads = self.reads - np.floor(self.reads * p)
        self.updates = self.updates - np.floor(self.updates * p)
        if ranks_above == 1 and self.format_reads is not None and self.format_fills is not None:
            # Timeloop scales metadata only below a level of a single rank, and there rank 0.
            for words in (self.format_fills, self.format_reads):
                words[:, 0] -= whole(np.floor(words[:, 0] * p[:, None]))


@dataclass
class _Operands:
    """What the SAFs leave for the compute units to see."""

    thinned: list[Floats] = field(default_factory=list)
    """Shares of the computes that are gone, in order."""
    p_absent: dict[int, Floats] = field(default_factory=dict)
    """Input tensor to the probability that its innermost SAF drops the operand."""


def _filter_accesses(
    design: Design,
    traffic: dict[Key, SparseTraffic],
    skips: dict[Key, Floats],
    spatial: dict[Key, Floats],
) -> _Operands:
    """Propagate every SAF from its level downwards."""
    operands = _Operands()
    levels = len(design.nest.keeps)
    for index, tensor in enumerate(design.problem.tensors):
        existing = {
            level: _Existing(
                *(each.astype(np.float64) for each in (own.reads, own.fills, own.updates)),
                *(
                    None if each is None else each.copy()
                    for each in (own.format_reads, own.format_fills, own.format_updates)
                ),
            )
            for level in range(levels)
            if (own := traffic.get((level, index))) is not None
        }
        final: set[int] = set()
        for level in range(levels - 1, -1, -1):
            skip, space = skips.get((level, index)), spatial.get((level, index))
            if skip is None and space is None:
                continue
            if skip is not None and space is not None:
                raise CrispLoopError(
                    f"{design.source}: {tensor.name} has skipping and skipping_spatial at"
                    f" {design.architecture.levels[level].name}; one level takes one of them."
                )
            p = skip if skip is not None else space
            assert p is not None
            here = traffic.get((level, index))
            ranks = len(here.representation.tree.ranks) if here and here.representation else 0
            inner = level - 1
            while inner >= 0:
                if inner in existing:
                    existing[inner].thin(p, ranks)
                local = skips.get((inner, index), spatial.get((inner, index)))
                if local is not None:
                    if inner in existing:
                        left = 1 - (1 - local) / (1 - p)
                        _settle(traffic[inner, index], existing[inner])
                        if (inner, index) in skips:
                            # Timeloop takes the metadata reads from the updates here.
                            traffic[inner, index].format_reads = existing[inner].format_updates
                            _skip_here(design, traffic, inner, index, left)
                    final.add(inner)
                    break
                inner -= 1
            if level not in final:
                final.add(level)
                if here is not None:
                    _settle(here, existing[level])
                    if skip is not None:
                        _skip_here(design, traffic, level, index, p)
            if inner < 0 and not tensor.output:
                operands.thinned.append(p)
                operands.p_absent[index] = _to_millionths(p)
        for level, left in existing.items():
            if (level, index) not in skips:
                own = traffic[level, index]
                _settle(own, left)
                own.temporal_reductions = _reductions(own)
    return operands


def _settle(traffic: SparseTraffic, existing: _Existing) -> None:
    traffic.reads = whole(existing.reads)
    traffic.fills = whole(existing.fills)
    traffic.updates = whole(existing.updates)
    traffic.format_reads = existing.format_reads
    traffic.format_fills = existing.format_fills
    traffic.format_updates = existing.format_updates


def _reductions(traffic: SparseTraffic) -> Ints:
    """Only updates that happen reduce."""
    updates = traffic.dense.updates
    share = traffic.temporal_reductions * traffic.updates.astype(np.float64) / updates
    return np.where(updates == 0, 0, whole(np.ceil(share)))


def _skip_here(
    design: Design, traffic: dict[Key, SparseTraffic], level: int, index: int, p: Floats
) -> None:
    """Turn a share of the accesses at the SAF's own level into skipped ones."""
    own = traffic[level, index]
    output = design.problem.tensors[index].output
    wanted = own.reads * p
    own.skipped_reads = whole(np.ceil(wanted) if output else np.floor(wanted))
    own.reads = own.reads - own.skipped_reads
    own.skipped_updates = whole(np.floor(own.updates * p))
    own.updates = own.updates - own.skipped_updates
    if own.representation is not None:
        # A read sends the child's ranks; without a child, all ranks.
        child = design.nest.child(level, index)
        source = own if child is None else traffic[child, index]
        count = len(source.representation.tree.ranks) if source.representation else 0
        share = p[:, None, None]
        assert own.format_reads is not None and own.format_updates is not None
        own.format_reads, own.skipped_format_reads = _split(own.format_reads, share, count)
        own.format_updates, own.skipped_format_updates = _split(own.format_updates, share, count)
    if output:
        own.temporal_reductions = _reductions(own)


def _split(words: Ints, share: Floats, ranks: int) -> tuple[Ints, Ints]:
    skipped = whole(np.floor(words * share))
    skipped[:, ranks:] = 0
    return words - skipped, skipped


def _check_fanout(design: Design, expansion: tuple[Expansion, ...], legality: Legality) -> None:
    """After spatial skipping the instances must fit below each level."""
    for tensor, state in zip(design.problem.tensors, expansion, strict=True):
        for level, hardware in enumerate(design.architecture.levels):
            for axis, along in (("X", state.x), ("Y", state.y)):
                available = design.architecture.fanout(level)[axis == "Y"]
                none = along[:, level + 1] < 1
                needed = along[:, level] // np.maximum(along[:, level + 1], 1)

                def reason(
                    at: int,
                    name: str = hardware.name,
                    tensor: str = tensor.name,
                    axis: str = axis,
                    needed: Ints = needed,
                    available: int = available,
                ) -> str:
                    return (
                        f"{design.source}: spatial skipping leaves {tensor} a fanout of"
                        f" {needed[at]} along {axis} below {name}; {available} are available."
                    )

                legality.refuse((needed > available) | none, reason)


# Computes


def _filter_computes(
    design: Design,
    total: Ints,
    traffic: dict[Key, SparseTraffic],
    operands: _Operands,
    legality: Legality,
) -> Computes:
    """Computes by the state of their two operands: present, zero, or left out by the format."""
    left = total.astype(np.float64)
    for p in operands.thinned:
        left = left - np.floor(left * p)
    left = np.trunc(left)
    inputs = [index for index, tensor in enumerate(design.problem.tensors) if not tensor.output]
    present: list[Floats] = []
    compressed: list[bool] = []
    for index in inputs:
        density = design.problem.tensors[index].density.of_one_element
        value = _to_millionths(np.full(len(left), density))
        # A SAF on the other operand passes only those computes where this one may be present.
        first, second = inputs
        other = second if index == first else first
        both = all(each in operands.p_absent for each in inputs)
        if other in operands.p_absent or both:
            value = value / (1 - operands.p_absent[other])
        absurd = ~((value > -1e-5) & (value < 1 + 1e-5) & (1 - value < 1 + 1e-5))
        legality.refuse(
            absurd,
            lambda _, name=design.problem.tensors[index].name: (
                f"{design.source}: the SAFs leave more non-zeros of {name} than there are"
                " computes; their conditions contradict each other."
            ),
        )
        present.append(value)
        holder = design.nest.holder(0, index)
        assert holder is not None
        compressed.append(traffic[holder, index].representation is not None)
    a, b = (np.clip(value, 0, 1) for value in present)
    a_gone, b_gone = (np.clip(1 - value, 0, 1) for value in present)
    zero = np.zeros_like(a)
    a_zero, a_out = (zero, a_gone) if compressed[0] else (a_gone, zero)
    b_zero, b_out = (zero, b_gone) if compressed[1] else (b_gone, zero)
    skipped = zero
    if design.optimizations.skip_compute:
        # One operand is there, the other was left out: the pair is passed over.
        skipped = left * (a * b_out + a_out * b)
        skipped = skipped + left * (a_zero * b_out + a_out * b_zero)
    nonexistent = np.floor(left * (a_out * b_out))
    actual = left - np.floor(skipped) - nonexistent
    return Computes(total, whole(actual), whole(np.floor(skipped)))


def _to_millionths(values: Floats) -> Floats:
    """As Timeloop rounds densities before it divides them: half up."""
    return np.floor(values * 1e6 + 0.5) / 1e6
