"""Step 2a, continued: what every compressed tile holds, expected and at most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.arrays import Floats, Ints, first_rows, in_order_sum, spread
from crisp_loop.sparseloop.dense import DenseAnalysis, Design
from crisp_loop.sparseloop.density import Density, Occupancies
from crisp_loop.sparseloop.formats import Fibertree, Misfits, RankLevel, build_trees
from crisp_loop.sparseloop.legality import Legality

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


def represent(
    design: Design, dense: DenseAnalysis, legality: Legality
) -> dict[Key, Representation]:
    """The expected and the largest data and metadata of every compressed tile."""
    nest, formats = design.nest, design.optimizations.formats
    found: dict[Key, Representation] = {}
    for index, tensor in enumerate(design.problem.tensors):
        kept = [level for level in range(len(nest.keeps)) if nest.keeps[level][index]]
        _check_chain(design, index, kept)
        if (kept[-1], index) not in formats:
            continue
        levels: list[RankLevel] = []
        below = -1
        for level in kept:
            loops = tuple(
                (at, nest.loops[at].dim)
                for at in nest.within(below + 1, level)
                if nest.loops[at].dim in tensor.dims
            )
            levels.append(RankLevel(formats[level, index], loops))
            below = level
        trees = build_trees(tuple(levels), dense.factors, dense.tiles[index])
        for level, (tree, misfits) in zip(kept, trees, strict=True):
            place = f"{tensor.name} at {design.architecture.levels[level].name}"

            def reason(at: int, place: str = place, misfits: Misfits = misfits) -> str:
                return (
                    f"{design.source}: the format of {place} does not fit the mapping:"
                    f" {misfits.reason(at)}."
                )

            legality.refuse(misfits.where, reason)
            found[level, index] = _represent(tree, tensor.density, level != kept[-1])
    return found


def _represent(tree: Fibertree, density: Density, has_parent: bool) -> Representation:
    # Mappings of a batch share most trees; do the costly part once for each distinct one.
    alike, group = first_rows(np.column_stack([tree.tile, tree.fiber, tree.coordinate]))
    each = Fibertree(tree.ranks, tree.tile[alike], tree.fiber[alike], tree.coordinate[alike])
    occupancies = density.occupancies(each.tile)
    # An empty tile is not sent by a parent that knows of it from its metadata.
    conditional = occupancies.smallest_is_zero & has_parent
    p = occupancies.given_not_empty(conditional)
    most = density.most(each.tile)
    words = each.occupancy(density, np.concatenate([occupancies.counts, most[:, None]], axis=1))
    return Representation(
        tree=tree,
        occupancies=occupancies,
        group=group,
        density=(in_order_sum(p * occupancies.counts, 1) / each.tile)[group],
        used=np.where(conditional, 1 - occupancies.first, 1.0)[group],
        words=spread(in_order_sum(words[:, :, :-1] * p[:, None, :, None], 2), group),
        most=most[group],
        most_words=spread(words[:, :, -1], group),
    )


def _check_chain(design: Design, tensor: int, kept: list[int]) -> None:
    """A tensor is compressed at all its levels or at none, with no more ranks further in."""
    formats = design.optimizations.formats
    levels, name = design.architecture.levels, design.problem.tensors[tensor].name
    for inner, outer in pairwise(kept):
        here, there = levels[inner].name, levels[outer].name
        mine, theirs = formats.get((inner, tensor)), formats.get((outer, tensor))
        if (mine is None) != (theirs is None):
            states = ("compressed", "uncompressed") if theirs else ("uncompressed", "compressed")
            raise CrispLoopError(
                f"{design.source}: {name} is {states[0]} at {there} but {states[1]} at {here};"
                " nothing in between converts it."
            )
        if mine and theirs and len(mine) > len(theirs):
            raise CrispLoopError(
                f"{design.source}: {name} has {len(theirs)} ranks at {there} but {len(mine)} at"
                f" {here}; an outer level needs as many at least."
            )
