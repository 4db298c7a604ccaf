"""Statistical density models: how many non-zeros a tile of a sparse tensor holds.

Sparseloop (MICRO'22, section 5.3.2) characterises a tensor by the distribution of the
occupancy of its tiles. Tiles are known by their element count alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crisp_loop.sparseloop.arrays import Bools, Floats, Ints, whole
from crisp_loop.sparseloop.hypergeometric import probabilities

_NO_WEIGHT = 1e-30
"""Probabilities below it are lost when doubles are summed, so they need not be exact."""


@dataclass(frozen=True)
class Occupancies:
    """The possible occupancies of tiles, ascending along the last axis, padded with p = 0."""

    counts: Ints
    """(batch, n)."""
    probabilities: Floats
    """(batch, n)."""
    smallest_is_zero: Bools
    """(batch,) whether the model takes the first possible occupancy for the empty tile.

    Timeloop asks for floor(minimum density * tile), whose rounding can turn 1 into 0; the
    first possible occupancy then counts as empty although it is not.
    """

    @property
    def first(self) -> Floats:
        """Probability of the smallest possible occupancy."""
        first = (self.probabilities != 0).argmax(axis=1)
        return self.probabilities[np.arange(len(first)), first]

    def given_not_empty(self, where: Bools) -> Floats:
        """Probabilities on condition that the tile is not empty, for mappings in ``where``."""
        p = self.probabilities
        first = (p != 0).argmax(axis=1)
        rows = np.arange(len(first))
        scaled = np.where(p != 0, p / (1 - p[rows, first])[:, None], 0.0)
        scaled[rows, first] = 0.0
        return np.where(where[:, None], scaled, p)


class Density(Protocol):
    """A density model; arrays of tiles are element counts."""

    @property
    def of_one_element(self) -> float:
        """Expected occupancy of a single element."""
        ...

    def most(self, tiles: Ints) -> Ints:
        """The largest possible occupancy."""
        ...

    def p_empty(self, tiles: Ints) -> Floats:
        """Probability that a tile holds no non-zero."""
        ...

    def p_empty_within(self, tiles: Ints, parents: Ints, occupancies: Ints) -> Floats:
        """The same for (batch, rank) tiles inside parent tiles of known occupancies (batch, n).

        Returns (batch, rank, n).
        """
        ...

    def occupancies(self, tiles: Ints) -> Occupancies:
        """All possible occupancies."""
        ...


@dataclass(frozen=True)
class FixedStructured:
    """Every tile holds its share: floor or ceil of tile * density, mixed to the right mean."""

    density: float

    @property
    def of_one_element(self) -> float:
        """The mean of one element."""
        return self.density

    def most(self, tiles: Ints) -> Ints:
        """The largest possible occupancy."""
        exact = tiles * self.density
        low = np.floor(exact)
        return whole(np.where(1 - (exact - low) >= 1.0, low, np.ceil(exact)))

    def p_empty(self, tiles: Ints) -> Floats:
        """Probability of an empty tile."""
        return _p_none(tiles * self.density)

    def p_empty_within(self, tiles: Ints, parents: Ints, occupancies: Ints) -> Floats:
        """Probability of an empty tile in a parent of known occupancy."""
        return _p_none(tiles[:, :, None] * (occupancies / parents[:, None])[:, None, :])

    def occupancies(self, tiles: Ints) -> Occupancies:
        """All possible occupancies."""
        exact = tiles * self.density
        low = np.floor(exact)
        p_low = 1 - (exact - low)
        # Ceil is beyond the largest occupancy where its share is lost in rounding.
        p_high = np.where(p_low < 1.0, exact - low, 0.0)
        return Occupancies(
            counts=np.stack([whole(low), whole(np.ceil(exact))], axis=1),
            probabilities=np.stack([p_low, p_high], axis=1).astype(np.float64),
            smallest_is_zero=np.floor(low / tiles * tiles) == 0,
        )


def _p_none(exact: npt.NDArray[Any]) -> Floats:
    return np.where(exact < 1.0, 1 - exact, 0.0)


@dataclass(frozen=True)
class Hypergeometric:
    """Non-zeros drawn at random from the whole tensor, without replacement."""

    density: float
    tensor: int
    """Elements of the whole tensor, at most :data:`hypergeometric.LARGEST`."""

    @property
    def nonzeros(self) -> int:
        """Non-zeros of the whole tensor."""
        return math.ceil(self.density * self.tensor)

    @property
    def of_one_element(self) -> float:
        """The mean of one element."""
        return float(_occupancy_table(self.tensor, self.nonzeros, 1)[1][-1])

    def most(self, tiles: Ints) -> Ints:
        """The largest possible occupancy."""
        return np.minimum(tiles, self.nonzeros)

    def p_empty(self, tiles: Ints) -> Floats:
        """Probability of an empty tile."""
        nonzeros = np.array(self.nonzeros)
        return np.array(
            [float(_empty_table(self.tensor, tile).of(nonzeros)) for tile in tiles.tolist()]
        )

    def p_empty_within(self, tiles: Ints, parents: Ints, occupancies: Ints) -> Floats:
        """Probability of an empty tile in a parent of known occupancy."""
        result = np.zeros((*tiles.shape, occupancies.shape[1]))
        for row, parent in enumerate(parents.tolist()):
            for rank, tile in enumerate(tiles[row].tolist()):
                result[row, rank] = _empty_table(parent, tile).of(occupancies[row])
        return result

    def occupancies(self, tiles: Ints) -> Occupancies:
        """All possible occupancies."""
        tables = [_occupancy_table(self.tensor, self.nonzeros, tile) for tile in tiles.tolist()]
        least = [self._least(tile) for tile in tiles.tolist()]
        widest = max(len(counts) for counts, _ in tables)
        counts = np.zeros((len(tiles), widest), dtype=np.int64)
        shares = np.zeros((len(tiles), widest))
        for row, (count, share) in enumerate(tables):
            counts[row, : len(count)] = count
            shares[row, : len(count)] = np.where(count < least[row], 0.0, share)
        return Occupancies(counts, shares, np.array(least) == 0)

    def _least(self, tile: int) -> float:
        """Timeloop's smallest occupancy.

        It subtracts the tensor from the tile in unsigned numbers, so for a tile that must hold
        something, but is not the whole tensor, it wraps around: to 0, or past all occupancies.
        """
        if tile <= self.tensor - self.nonzeros:
            return 0.0
        wrapped = float((tile - self.tensor) % 2**64) + float(self.nonzeros)
        least = math.floor(wrapped / tile * tile)
        return 0.0 if least >= 2**64 else float(least)


@lru_cache(maxsize=512)
def _occupancy_table(tensor: int, nonzeros: int, tile: int) -> tuple[Ints, Floats]:
    """All occupancies of a tile with a probability that a double can hold.

    Neighbouring probabilities have a rational ratio, so the table is built from the mode
    outwards in extended precision and normalised. All that can turn a sum is then made exact.
    """
    low, high = max(0, tile + nonzeros - tensor), min(tile, nonzeros)
    mode = min(high, max(low, (tile + 1) * (nonzeros + 1) // (tensor + 2)))
    wide = np.longdouble
    up = np.arange(mode, high, dtype=wide)
    ratios_up = (nonzeros - up) * (tile - up) / ((up + 1) * (tensor - nonzeros - tile + up + 1))
    down = np.arange(mode, low, -1, dtype=wide)
    ratios_down = (
        down * (tensor - nonzeros - tile + down) / ((nonzeros - down + 1) * (tile - down + 1))
    )
    weights = np.concatenate(
        [np.cumprod(ratios_down)[::-1], np.ones(1, dtype=wide), np.cumprod(ratios_up)]
    )
    table = (weights / weights.sum()).astype(np.float64)
    counts = np.arange(low, high + 1, dtype=np.int64)
    heavy = table > _NO_WEIGHT
    defective = np.full(int(heavy.sum()), nonzeros)
    table[heavy] = probabilities(counts[heavy], defective, tile, tensor)
    kept = table != 0
    return counts[kept], table[kept]


class _EmptyTable:
    """P(a tile is empty) for 0, 1, ... non-zeros in its parent, made exact where it is asked."""

    def __init__(self, parent: int, tile: int) -> None:
        self._parent, self._tile = parent, tile
        rest = np.arange(parent - tile, 0, -1, dtype=np.longdouble)
        ratios = rest / (rest + tile)
        table = np.concatenate([np.ones(1, dtype=np.longdouble), np.cumprod(ratios)])
        doubles = table.astype(np.float64)
        # Beyond the end it is 0.
        self._table = np.append(doubles[doubles > 0], 0.0)
        self._exact = self._table <= _NO_WEIGHT

    def of(self, nonzeros: Ints) -> Floats:
        """The probabilities for numbers of non-zeros, of any shape."""
        places = np.minimum(nonzeros, len(self._table) - 1)
        rough = np.unique(places[~self._exact[places]])
        if len(rough):
            none = np.zeros_like(rough)
            self._table[rough] = probabilities(none, rough, self._tile, self._parent)
            self._exact[rough] = True
        return self._table[places]


@lru_cache(maxsize=512)
def _empty_table(parent: int, tile: int) -> _EmptyTable:
    return _EmptyTable(parent, tile)
