"""Step 2a, continued: what every compressed tile holds, expected and at most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.architecture import Architecture
from crisp_loop.sparseloop.columns import (
    ALL,
    Floats,
    Ints,
    Rows,
    choose,
    distinct,
    filled,
    once_a_number,
    take,
    take_each,
)
from crisp_loop.sparseloop.dense import DenseAnalysis
from crisp_loop.sparseloop.density import Density, Occupancies
from crisp_loop.sparseloop.formats import (
    Fibertree,
    RankLevel,
    RankLevels,
    Words,
    build_trees,
)
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.nest import Nest
from crisp_loop.sparseloop.optimizations import SparseOptimizations
from crisp_loop.sparseloop.parse import Design

Key = tuple[int, int]
"""(level, tensor)."""


@dataclass(slots=True)
class Representation:
    """How a compressed tile is stored at one level."""

    tree: Fibertree
    occupancies: Occupancies
    """Of the distinct trees in the batch."""
    kind: Rows
    """Which of the distinct trees each mapping's is."""
    density: Floats
    """Expected, on condition that the parent sends the tile at all."""
    used: Floats
    """Share of the instances that get a non-empty tile."""
    words: Words
    """Expected metadata and payload words of a tile."""
    most: Ints
    """Data words at most."""
    most_words: Words
    """At that occupancy."""


def represent(
    design: Design, dense: DenseAnalysis, legality: Legality
) -> dict[Key, Representation]:
    """The expected and the largest data and metadata of every compressed tile."""
    found: dict[Key, Representation] = {}
    nest, optimizations = design.nest, design.optimizations
    for index, tensor in enumerate(design.problem.tensors):
        kept, arch = nest.kept[index], design.architecture
        if problem := _chain_problem(optimizations, nest, index, tensor.name, arch):
            raise CrispLoopError(f"{design.source}: {problem}.")
        if (kept[-1], index) not in optimizations.formats:
            continue
        levels = _rank_levels(optimizations, nest, index, tensor.dims)
        trees = build_trees(levels, dense.factors, dense.tiles[index])
        density = design.problem.densities[index]
        for level, (tree, misfit) in zip(kept, trees, strict=True):
            legality.refuse(
                misfit != "",
                "the format of {} at {} does not fit the mapping: {}",
                *(tensor.name, arch.levels[level].name, misfit),
            )
            found[level, index] = _represent(tree, density, level != kept[-1])
    return found


@lru_cache(maxsize=1024)
def _rank_levels(
    optimizations: SparseOptimizations, nest: Nest, tensor: int, dims: frozenset[str]
) -> RankLevels:
    """The levels that keep a compressed tensor, each with the loops down to the next."""
    levels: list[RankLevel] = []
    below = -1
    for level in nest.kept[tensor]:
        loops = tuple(
            (at, nest.loops[at].dim)
            for at in nest.within(below + 1, level)
            if nest.loops[at].dim in dims
        )
        levels.append(RankLevel(optimizations.formats[level, tensor], loops))
        below = level
    return RankLevels(tuple(levels))


def _represent(tree: Fibertree, density: Density, has_parent: bool) -> Representation:
    # Mappings of a batch share most trees; do the costly part once for each distinct one.
    first, kind = distinct([tree.tile, *tree.fiber, *tree.coordinate])
    each = tree
    if first is not ALL:
        each = Fibertree(
            tree.level,
            filled(take(tree.tile, first), len(first)),
            take_each(tree.fiber, first),
            take_each(tree.coordinate, first),
        )
    occupancies = density.occupancies(each.tile)
    # An empty tile is not sent by a parent that knows of it from its metadata.
    conditional = occupancies.smallest_is_zero & has_parent
    sent = occupancies.given_not_empty(conditional)
    most = density.most(each.tile)
    words_at = once_a_number(partial(each.words, density))
    mean, *words = sent.expected(lambda occupancy: [occupancy, *words_at(occupancy)])
    return Representation(
        tree=tree,
        occupancies=occupancies,
        kind=kind,
        density=take(mean / each.tile, kind),
        used=take(choose(conditional, 1 - occupancies.first, 1.0), kind),
        words=take_each(words, kind),
        most=take(most, kind),
        most_words=take_each(words_at(most), kind),
    )


@lru_cache(maxsize=1024)
def _chain_problem(
    optimizations: SparseOptimizations,
    nest: Nest,
    tensor: int,
    name: str,
    architecture: Architecture,
) -> str:
    """A tensor is compressed at all its levels or at none, with no more ranks further in."""
    formats = optimizations.formats
    for inner, outer in pairwise(nest.kept[tensor]):
        here, there = architecture.levels[inner].name, architecture.levels[outer].name
        mine, theirs = formats.get((inner, tensor)), formats.get((outer, tensor))
        if (mine is None) != (theirs is None):
            states = ("compressed", "uncompressed") if theirs else ("uncompressed", "compressed")
            return (
                f"{name} is {states[0]} at {there} but {states[1]} at {here}; nothing in between"
                " converts it"
            )
        if mine and theirs and len(mine) > len(theirs):
            return (
                f"{name} has {len(theirs)} ranks at {there} but {len(mine)} at {here}; an outer"
                " level needs as many at least"
            )
    return ""
