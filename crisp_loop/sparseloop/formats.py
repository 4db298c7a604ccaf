"""Step 2a, formats: the fibertrees of compressed tensors and their metadata.

Each rank of a format takes one non-trivial loop of the tile (or a flattened group of loops),
innermost rank first. The tree of a level repeats the tree of its child level, because data
is tiled beforehand and not at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

from crisp_loop.sparseloop.columns import (
    Flags,
    Floats,
    Ints,
    Rows,
    Texts,
    cases,
    ceil,
    choose,
    merged,
    merged_each,
    negated,
    plainly,
    take,
)
from crisp_loop.sparseloop.density import Density
from crisp_loop.sparseloop.optimizations import Rank

Words: TypeAlias = list[Floats]
"""[2 * rank] metadata words, [2 * rank + 1] payload words."""
SCALAR = -1
"""In place of a loop's position: a tile of one element."""


@dataclass(frozen=True)
class RankLevel:
    """One level of a compressed tensor: its ranks, and the loops between it and its child."""

    ranks: tuple[Rank, ...]
    """Innermost first."""
    loops: tuple[tuple[int, str], ...]
    """(position in the nest, dimension), relevant to the tensor, innermost first."""

    @cached_property
    def written(self) -> tuple[tuple[int, int, int], ...]:
        """(rank, bits of a metadata word, bits of a payload word), of ranks that have any."""
        return tuple(
            (number, rank.metadata_bits, rank.payload_bits)
            for number, rank in enumerate(self.ranks)
            if rank.metadata_bits or rank.payload_bits
        )


@dataclass(frozen=True)
class RankPlan:
    """Which rank takes which loop at one level, for one set of non-trivial loops."""

    taken: tuple[tuple[int, int], ...]
    """(position of the loop, its rank)."""
    tiles: tuple[int, ...]
    """One more than ranks: the loop whose tile is one coordinate of the rank of that number."""
    problem: str
    """Why the loops do not fit the ranks; empty when they do."""


@dataclass(frozen=True, eq=False)
class RankLevels:
    """The levels that keep a compressed tensor, innermost first."""

    levels: tuple[RankLevel, ...]

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """The loops that move the tensor, innermost first."""
        return tuple(position for level in self.levels for position, _ in level.loops)


@lru_cache(maxsize=65536)
def plan_ranks(tensor: RankLevels, nontrivial: tuple[bool, ...]) -> tuple[RankPlan, ...]:
    """Hand the non-trivial loops out to the ranks of every level, innermost level first.

    ``nontrivial``: for each of the tensor's positions.
    """
    levels = tensor.levels
    moving = {at for at, flag in zip(tensor.positions, nontrivial, strict=True) if flag}
    plans: list[RankPlan] = []
    inside = 0  # non-trivial loops of the levels below
    for index, level in enumerate(levels):
        # A child tile of one element is a value and has no tree to repeat.
        child = levels[index - 1] if inside else None
        ranks, loops = level.ranks, level.loops
        taken = list(plans[-1].taken) if child else []
        tiles = list(plans[-1].tiles) if child else [SCALAR]
        problem = ""
        if child and any(
            mine.format != theirs.format for mine, theirs in zip(ranks, child.ranks, strict=False)
        ):
            problem = "its inner ranks differ from the ranks of the level below"
        rank, at = len(tiles) - 2, 0
        while rank < len(ranks) - 1 and at < len(loops):
            if loops[at][0] not in moving:
                at += 1
                continue
            rank += 1
            group = next((each for each in ranks[rank].flattened if loops[at][1] in each), ())
            if ranks[rank].flattened and not group:
                tiles.append(SCALAR)  # the rank cannot take this loop and stays empty
                continue
            # Of a flattened group Timeloop remembers the tile of the innermost loop.
            tiles.append(loops[at][0])
            taken.append((loops[at][0], rank))
            at += 1
            while group and at < len(loops):
                position, dim = loops[at]
                if position in moving and dim not in group:
                    break
                if position in moving:
                    taken.append((position, rank))
                at += 1
        spare = len(ranks) - 1 - rank
        tiles.extend([loops[0][0]] * spare)
        left = [position for position, _ in loops[at:] if position in moving]
        if left and not problem:
            problem = f"{len(left)} of its non-trivial loops find no rank"
        inside += sum(position in moving for position, _ in loops)
        plans.append(RankPlan(tuple(taken), tuple(tiles), problem))
    return tuple(plans)


@dataclass(slots=True)
class Fibertree:
    """The tree of one compressed tensor at one level."""

    level: RankLevel
    tile: Ints
    """Elements of the dense tile."""
    fiber: list[Ints]
    """[rank] coordinates of a fiber."""
    coordinate: list[Ints]
    """[rank] elements of the tile under one coordinate."""

    def bits(self, words: Words) -> Floats:
        """Bits of so many words. Ranks over trivial loops have none: nobody traverses them."""
        total: Floats = 0
        for rank, metadata, payload in self.level.written:
            total = total + (words[2 * rank] * metadata + words[2 * rank + 1] * payload)
        return total

    def words(self, density: Density, occupancy: Ints) -> Words:
        """Metadata of tiles whose data occupancy is known.

        ``occupancy`` may have an axis of its own before that of the mappings; so have the words.
        """
        # A rank's fiber is a coordinate of the rank above.
        p_empty = density.p_empty_within([*self.coordinate, self.tile], self.tile, occupancy)
        fibers: list[Ints] = [1]  # how many there are of each rank, the outermost first
        for fiber in self.fiber[:0:-1]:
            fibers.append(fibers[-1] * fiber)
        found: Words = []
        data: Flags = True  # no rank further in points at the data
        for number, rank in enumerate(self.level.ranks):
            fiber = self.fiber[number]
            if number and plainly(fiber, 1):
                found += (0, 0)  # the hardware does not traverse ranks over trivial loops
                continue
            nonempty = fibers[-1 - number] * (1 - p_empty[number + 1])
            metadata: Floats = 0.0
            if rank.format == "UOP":
                payload = nonempty * (fiber + 1)
            else:
                payload = ceil(fiber * (1 - p_empty[number])) * nonempty
                metadata = payload if rank.format == "CP" else nonempty * fiber
            if number:
                traversed = fiber != 1
                metadata, payload = metadata * traversed, payload * traversed
            if data is not False:
                # The payload of the innermost rank in use is the data itself.
                used = (metadata != 0) | (payload != 0)
                payload = choose(data & used, 0.0, payload)
                data = data & negated(used)
            found += (metadata, payload)
        return found


def build_trees(
    tensor: RankLevels, factors: Sequence[Ints], tiles: Sequence[Ints]
) -> list[tuple[Fibertree, Texts]]:
    """The trees of one tensor at all its levels, each with why it does not fit; empty if it does.

    Args:
        tensor: Where it is kept.
        factors: [loop].
        tiles: [loop] elements of the tensor's tile up to each loop.
    """
    plans = [
        (rows, plan_ranks(tensor, nontrivial))
        for rows, nontrivial in cases([factors[at] > 1 for at in tensor.positions])
    ]
    found: list[tuple[Fibertree, Texts]] = []
    for index, level in enumerate(tensor.levels):
        fiber, coordinate = _rank_sizes(
            [(rows, plan[index]) for rows, plan in plans], factors, tiles
        )
        tree = Fibertree(level, tiles[level.loops[-1][0]], fiber, coordinate)
        found.append((tree, merged([(rows, plan[index].problem) for rows, plan in plans])))
    return found


def _rank_sizes(
    plans: Sequence[tuple[Rows, RankPlan]], factors: Sequence[Ints], tiles: Sequence[Ints]
) -> tuple[list[Ints], list[Ints]]:
    """[rank] coordinates of a fiber, and elements under a coordinate."""
    fibers: list[tuple[Rows, list[Ints]]] = []
    coordinates: list[tuple[Rows, list[Ints]]] = []
    for rows, plan in plans:
        coordinate: list[Ints] = [
            1 if position == SCALAR else take(tiles[position], rows) for position in plan.tiles
        ]
        fiber: list[Ints] = [1] * len(coordinate)
        for position, rank in plan.taken:
            fiber[rank] = fiber[rank] * take(factors[position], rows)
        fibers.append((rows, fiber))
        coordinates.append((rows, coordinate))
    return merged_each(fibers), merged_each(coordinates)
