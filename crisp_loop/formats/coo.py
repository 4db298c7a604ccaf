"""COO: coordinates. A row and a column index a non-zero."""

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
from crisp_loop.formats.bits import pack_bits, unpack_bits, width_for


@dataclass(frozen=True, eq=False)
class COOMatrix:
    """An S x K matrix as a list of places; any mask."""

    values: Array
    """[nnz], row by row from left to right."""
    row_indices: Bytes
    """Packed words of ceil(log2 S) bits, one a value."""
    column_indices: Bytes
    """Packed words of ceil(log2 K) bits, one a value."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> COOMatrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes.
        """
        check_pair(mask, weights)
        rows, columns = mask.shape
        row, column = np.nonzero(mask)
        return cls(
            weights[mask],
            pack_bits(row, width_for(rows)),
            pack_bits(column, width_for(columns)),
            (rows, columns),
        )

    @property
    def bits(self) -> Bits:
        """Values, row and column indices."""
        rows, columns = self.shape
        return Bits(
            word_bits(self.values), self.values.size * (width_for(rows) + width_for(columns))
        )

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        count = self.values.size
        row = unpack_bits(self.row_indices, width_for(rows), count).astype(np.int64)
        column = unpack_bits(self.column_indices, width_for(columns), count).astype(np.int64)
        places = row * columns + column
        if (row >= rows).any() or (column >= columns).any() or (np.diff(places) <= 0).any():
            raise ValueError(f"places do not ascend inside {rows} x {columns}")
        matrix = zeros_like(self.values, self.shape)
        matrix.reshape(-1)[places] = self.values.reshape(-1)
        return matrix
