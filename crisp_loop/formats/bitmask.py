"""Bitmask: one bit a weight, and the values of the ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crisp_loop.formats.base import (
    Array,
    Bits,
    BoolArray,
    Bytes,
    check_pair,
    word_bits,
    zeros_like,
)
from crisp_loop.formats.bits import unpack_bits


@dataclass(frozen=True, eq=False)
class BitmaskMatrix:
    """An S x K matrix behind a map of its non-zeros; any mask."""

    values: Array
    """[nnz], row by row from left to right."""
    bitmap: Bytes
    """S * K bits, row by row, the first at the least significant bit of the first byte."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> BitmaskMatrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes.
        """
        check_pair(mask, weights)
        bitmap = np.packbits(mask.reshape(-1), bitorder="little")
        return cls(weights[mask], bitmap, (mask.shape[0], mask.shape[1]))

    @property
    def bits(self) -> Bits:
        """Values, and the map."""
        return Bits(word_bits(self.values), self.shape[0] * self.shape[1])

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        kept = unpack_bits(self.bitmap, 1, rows * columns).astype(np.bool_)
        if np.count_nonzero(kept) != self.values.size:
            raise ValueError(f"{self.values.size} values for {np.count_nonzero(kept)} places")
        matrix = zeros_like(self.values, self.shape)
        matrix.reshape(-1)[kept] = self.values.reshape(-1)
        return matrix
