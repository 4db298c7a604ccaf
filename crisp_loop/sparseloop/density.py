"""Statistical density models: how many non-zeros a tile of a sparse tensor holds.

Sparseloop (MICRO'22, section 5.3.2) characterises a tensor by the distribution of the
occupancy of its tiles. Tiles are known by their element count alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from crisp_loop.sparseloop.columns import (
    Flags,
    FloatArray,
    Floats,
    IntArray,
    Ints,
    ceil,
    choose,
    floor,
    in_order_sum,
    least,
    plainly,
    ratio,
)
from crisp_loop.sparseloop.hypergeometric import probabilities

_NO_WEIGHT = 1e-30
"""Probabilities below it are lost when doubles are summed, so they need not be exact."""


class Occupancies(Protocol):
    """The possible occupancies of tiles."""

    @property
    def smallest_is_zero(self) -> Flags:
        """Whether the model takes the first possible occupancy for the empty tile.

        Timeloop asks for floor(minimum density * tile), whose rounding can turn 1 into 0; the
        first possible occupancy then counts as empty although it is not.
        """
        ...

    @property
    def first(self) -> Floats:
        """Probability of the smallest possible occupancy."""
        ...

    def given_not_empty(self, where: Flags) -> Occupancies:
        """The same on condition that the tile is not empty, for mappings in ``where``."""
        ...

    def expected(self, of: Callable[[Ints], Sequence[Floats]]) -> list[Floats]:
        """The means of what ``of`` says of an occupancy."""
        ...


class Density(Protocol):
    """A density model; tiles are element counts."""

    @property
    def of_one_element(self) -> float:
        """Expected occupancy of a single element."""
        ...

    def most(self, tile: Ints) -> Ints:
        """The largest possible occupancy."""
        ...

    def p_empty(self, tile: Ints) -> Floats:
        """Probability that a tile holds no non-zero."""
        ...

    def p_empty_within(
        self, tiles: Sequence[Ints], parent: Ints, occupancy: Ints
    ) -> Sequence[Floats]:
        """The same for tiles inside a parent tile of known occupancy.

        A column of occupancies may have an axis of its own before that of the mappings; so have
        the probabilities then.
        """
        ...

    def occupancies(self, tile: Ints) -> Occupancies:
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

    def most(self, tile: Ints) -> Ints:
        """The largest possible occupancy."""
        exact = tile * self.density
        low = floor(exact)
        return choose(1 - (exact - low) >= 1.0, low, ceil(exact))

    def p_empty(self, tile: Ints) -> Floats:
        """Probability of an empty tile."""
        exact = tile * self.density
        return (exact < 1.0) * (1 - exact)  # 0 where it holds one at least

    def p_empty_within(
        self, tiles: Sequence[Ints], parent: Ints, occupancy: Ints
    ) -> Sequence[Floats]:
        """Probability of an empty tile in a parent of known occupancy."""
        share = occupancy / parent
        return [((exact := tile * share) < 1.0) * (1 - exact) for tile in tiles]

    def occupancies(self, tile: Ints) -> Occupancies:
        """All possible occupancies."""
        exact = tile * self.density
        low = floor(exact)
        p_low = 1 - (exact - low)
        # Ceil is beyond the largest occupancy where its share is lost in rounding.
        p_high = choose(p_low < 1.0, exact - low, 0.0)
        smallest_is_zero = floor(low / tile * tile) == 0
        return _LowOrHigh(low, ceil(exact), p_low, p_high, smallest_is_zero)


@dataclass(slots=True)
class _LowOrHigh:
    """Two occupancies, of which the low one is always possible."""

    low: Ints
    high: Ints
    p_low: Floats
    p_high: Floats
    smallest_is_zero: Flags

    @property
    def first(self) -> Floats:
        return self.p_low

    def given_not_empty(self, where: Flags) -> Occupancies:
        if where is False:
            return self
        scaled = choose(self.p_high != 0, ratio(self.p_high, 1 - self.p_low), 0.0)
        p_low = choose(where, 0.0, self.p_low)
        p_high = choose(where, scaled, self.p_high)
        return _LowOrHigh(self.low, self.high, p_low, p_high, self.smallest_is_zero)

    def expected(self, of: Callable[[Ints], Sequence[Floats]]) -> list[Floats]:
        if plainly(self.p_low, 1.0):
            return [*of(self.low)]
        pairs = zip(of(self.low), of(self.high), strict=True)
        return [low * self.p_low + high * self.p_high for low, high in pairs]


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

    def most(self, tile: Ints) -> Ints:
        """The largest possible occupancy."""
        return least(tile, self.nonzeros)

    def p_empty(self, tile: Ints) -> Floats:
        """Probability of an empty tile."""
        return self._within(tile, self.tensor, self.nonzeros)

    def p_empty_within(
        self, tiles: Sequence[Ints], parent: Ints, occupancy: Ints
    ) -> Sequence[Floats]:
        """Probability of an empty tile in a parent of known occupancy."""
        return [self._within(tile, parent, occupancy) for tile in tiles]

    def _within(self, tile: Ints, parent: Ints, occupancy: Ints) -> Floats:
        if not isinstance(tile, np.ndarray) and not isinstance(parent, np.ndarray):
            return _empty_table(parent, tile).of(occupancy)
        of_mappings = np.broadcast_arrays(parent, tile, np.atleast_2d(occupancy))
        parents, tiles, occupancies = (each.T for each in of_mappings)
        found = [
            _empty_table(one_parent, one_tile).of(occupied)
            for one_parent, one_tile, occupied in zip(
                parents[:, 0].tolist(), tiles[:, 0].tolist(), occupancies, strict=True
            )
        ]
        return np.array(found).T.reshape(
            np.broadcast_shapes(np.shape(tile), np.shape(parent), np.shape(occupancy))
        )

    def occupancies(self, tile: Ints) -> Occupancies:
        """All possible occupancies."""
        tiles = np.atleast_1d(tile).tolist()
        tables = [_occupancy_table(self.tensor, self.nonzeros, each) for each in tiles]
        widest = max(len(counts) for counts, _ in tables)
        counts = np.zeros((len(tiles), widest), dtype=np.int64)
        shares = np.zeros((len(tiles), widest))
        smallest = [self._least(each) for each in tiles]
        for row, (count, share) in enumerate(tables):
            counts[row, : len(count)] = count
            shares[row, : len(count)] = np.where(count < smallest[row], 0.0, share)
        if not isinstance(tile, np.ndarray):
            return _Table(counts[0], shares[0], smallest[0] == 0)
        return _Table(counts.T, shares.T, np.array(smallest) == 0)

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


@dataclass(frozen=True)
class _Table:
    """Many occupancies, ascending along the first axis, padded with p = 0."""

    counts: IntArray
    """(n,) for a plain tile, (n, mapping) for a column of them."""
    probabilities: FloatArray
    smallest_is_zero: Flags

    @property
    def _place(self) -> IntArray:
        """Of the first possible occupancy."""
        return np.expand_dims((self.probabilities != 0).argmax(axis=0), 0)

    @property
    def first(self) -> Floats:
        first = np.take_along_axis(self.probabilities, self._place, 0)[0]
        return first if first.ndim else first.item()

    def given_not_empty(self, where: Flags) -> Occupancies:
        p = self.probabilities
        scaled = np.where(p != 0, p / (1 - self.first), 0.0)
        np.put_along_axis(scaled, self._place, 0.0, 0)
        return replace(self, probabilities=choose(where, scaled, p))

    def expected(self, of: Callable[[Ints], Sequence[Floats]]) -> list[Floats]:
        return [in_order_sum(value * self.probabilities) for value in of(self.counts)]


@lru_cache(maxsize=512)
def _occupancy_table(tensor: int, nonzeros: int, tile: int) -> tuple[IntArray, FloatArray]:
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
        """The probabilities for numbers of non-zeros: a plain one, or an array of any shape."""
        places = np.asarray(np.minimum(nonzeros, len(self._table) - 1))
        rough = np.unique(places[~self._exact[places]])
        if len(rough):
            none = np.zeros_like(rough)
            self._table[rough] = probabilities(none, rough, self._tile, self._parent)
            self._exact[rough] = True
        found = self._table[places]
        return found if isinstance(nonzeros, np.ndarray) else found.item()


@lru_cache(maxsize=512)
def _empty_table(parent: int, tile: int) -> _EmptyTable:
    return _EmptyTable(parent, tile)
