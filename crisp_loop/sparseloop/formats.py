"""Step 2a, formats: the fibertrees of compressed tensors and their metadata.

Each rank of a format takes one non-trivial loop of the tile (or a flattened group of loops),
innermost rank first. The tree of a level repeats the tree of its child level, because data
is tiled beforehand and not at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from crisp_loop.sparseloop.arrays import Bools, Floats, Ints, columns, distinct_rows, members
from crisp_loop.sparseloop.density import Density
from crisp_loop.sparseloop.optimizations import Rank

SCALAR = -1
"""In place of a loop's position: a tile of one element."""


@dataclass(frozen=True)
class RankLevel:
    """One level of a compressed tensor: its ranks, and the loops between it and its child."""

    ranks: tuple[Rank, ...]
    """Innermost first."""
    loops: tuple[tuple[int, str], ...]
    """(position in the nest, dimension), relevant to the tensor, innermost first."""


@dataclass(frozen=True)
class RankPlan:
    """Which rank takes which loop at one level, for one set of non-trivial loops."""

    taken: tuple[tuple[int, int], ...]
    """(position of the loop, its rank)."""
    tiles: tuple[int, ...]
    """One more than ranks: the loop whose tile is one coordinate of the rank of that number."""
    problem: str
    """Why the loops do not fit the ranks; empty when they do."""


@lru_cache(maxsize=65536)
def plan_ranks(levels: tuple[RankLevel, ...], nontrivial: frozenset[int]) -> tuple[RankPlan, ...]:
    """Hand the non-trivial loops out to the ranks of every level, innermost level first."""
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
            if loops[at][0] not in nontrivial:
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
                if position in nontrivial and dim not in group:
                    break
                if position in nontrivial:
                    taken.append((position, rank))
                at += 1
        spare = len(ranks) - 1 - rank
        tiles.extend([loops[0][0]] * spare)
        left = [position for position, _ in loops[at:] if position in nontrivial]
        if left and not problem:
            problem = f"{len(left)} of its non-trivial loops find no rank"
        inside += sum(position in nontrivial for position, _ in loops)
        plans.append(RankPlan(tuple(taken), tuple(tiles), problem))
    return tuple(plans)


@dataclass(frozen=True)
class Fibertree:
    """The tree of one compressed tensor at one level, for a batch of mappings."""

    ranks: tuple[Rank, ...]
    tile: Ints
    """(batch,) elements of the dense tile."""
    fiber: Ints
    """(batch, rank) coordinates of a fiber."""
    coordinate: Ints
    """(batch, rank) elements of the tile under one coordinate."""

    @property
    def skipped_ranks(self) -> Bools:
        """(batch, rank) ranks over trivial loops, which the hardware does not traverse."""
        trivial = self.fiber == 1
        trivial[:, 0] = False
        return trivial

    @cached_property
    def word_bits(self) -> Ints:
        """(batch, rank, 2) bits of a metadata and of a payload word."""
        bits = np.array([(rank.metadata_bits, rank.payload_bits) for rank in self.ranks])
        return np.where(self.skipped_ranks[:, :, None], 0, bits)

    def bits(self, words: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(batch,) bits of (batch, rank, 2) words."""
        total = np.zeros(len(words), dtype=words.dtype)
        for number, rank in enumerate(self.ranks):
            if rank.metadata_bits or rank.payload_bits:
                total = total + (words[:, number] * self.word_bits[:, number]).sum(axis=1)
        return total

    def occupancy(self, density: Density, occupancies: Ints) -> Floats:
        """Metadata of tiles whose data occupancy is known.

        Args:
            density: The tensor's density model.
            occupancies: (batch, n) non-zeros in the tile.

        Returns:
            (batch, rank, n, 2) metadata and payload words.
        """
        above = np.concatenate([self.coordinate[:, 1:], self.tile[:, None]], axis=1)
        fibers = np.cumprod(self.fiber[:, ::-1], axis=1)[:, ::-1] // self.fiber
        fiber = self.fiber[:, :, None]
        p_fiber = 1 - density.p_empty_within(above, self.tile, occupancies)
        p_coordinate = 1 - density.p_empty_within(self.coordinate, self.tile, occupancies)
        nonempty_fibers = fibers[:, :, None] * p_fiber
        coordinates = np.ceil(fiber * p_coordinate)
        kinds = np.array([rank.format for rank in self.ranks])[None, :, None]
        metadata = np.where(
            kinds == "CP",
            coordinates * nonempty_fibers,
            np.where(kinds == "B", nonempty_fibers * fiber, 0.0),
        )
        payload = np.where(
            kinds == "UOP", nonempty_fibers * (fiber + 1), nonempty_fibers * coordinates
        )
        words = np.stack([metadata, payload], axis=-1)
        words[self.skipped_ranks] = 0.0
        # The payload of the innermost rank in use is the data itself.
        innermost = (words != 0).any(axis=-1).argmax(axis=1)
        np.put_along_axis(words[..., 1], innermost[:, None, :], 0.0, axis=1)
        return words


@dataclass(frozen=True)
class Misfits:
    """The mappings of a batch whose loops do not fit the ranks of one level."""

    texts: tuple[str, ...]
    """Why, for each set of non-trivial loops; empty where they fit."""
    group: Ints
    """(batch,) which of the sets a mapping has."""

    @property
    def where(self) -> Bools:
        """(batch,)."""
        return np.array([bool(text) for text in self.texts])[self.group]

    def reason(self, index: int) -> str:
        """Why the loops of one mapping do not fit."""
        return self.texts[self.group[index]]


def build_trees(
    levels: tuple[RankLevel, ...], factors: Ints, tiles: Ints
) -> list[tuple[Fibertree, Misfits]]:
    """The trees of one tensor at all its levels, and where they do not fit.

    Args:
        levels: Where it is kept, innermost first.
        factors: (batch, loop).
        tiles: (batch, loop) elements of the tensor's tile up to each loop.
    """
    positions = np.array([position for level in levels for position, _ in level.loops])
    codes, group = distinct_rows(factors[:, positions] > 1)
    plans = [plan_ranks(levels, frozenset(positions[code].tolist())) for code in codes]
    rows = members(group, len(plans))
    found: list[tuple[Fibertree, Misfits]] = []
    for index, level in enumerate(levels):
        fiber = columns(len(factors), len(level.ranks))
        coordinate = columns(len(factors), len(level.ranks))
        fiber[:], coordinate[:] = 1, 1
        for these, plan in zip(rows, plans, strict=True):
            for position, rank in plan[index].taken:
                fiber[these, rank] *= factors[these, position]
            for rank, position in enumerate(plan[index].tiles[: len(level.ranks)]):
                if position != SCALAR:
                    coordinate[these, rank] = tiles[these, position]
        last = level.loops[-1][0]
        tree = Fibertree(level.ranks, tiles[:, last], fiber, coordinate)
        found.append((tree, Misfits(tuple(plan[index].problem for plan in plans), group)))
    return found
