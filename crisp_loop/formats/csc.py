"""CSC: compressed sparse columns. CSR of the transposed matrix."""

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
from crisp_loop.formats.bits import width_for
from crisp_loop.formats.compressed import compress, expand, pointer_bits


@dataclass(frozen=True, eq=False)
class CSCMatrix:
    """An S x K matrix by columns; any mask."""

    values: Array
    """[nnz], column by column from top to bottom."""
    row_indices: Bytes
    """Packed words of ceil(log2 S) bits, one a value."""
    column_pointers: Bytes
    """K + 1 packed words of ceil(log2(nnz + 1)) bits."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> CSCMatrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes.
        """
        check_pair(mask, weights)
        by_column = np.ascontiguousarray(mask.T)
        return cls(weights.T[by_column], *compress(by_column), (mask.shape[0], mask.shape[1]))

    @property
    def bits(self) -> Bits:
        """Values, row indices, column pointers."""
        count = self.values.size
        return Bits(
            word_bits(self.values),
            count * width_for(self.shape[0]),
            pointer_bits(self.shape[1], count),
        )

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        across = (self.shape[1], self.shape[0])
        places = expand(self.row_indices, self.column_pointers, across, self.values.size)
        matrix = zeros_like(self.values, across)
        matrix.reshape(-1)[places] = self.values.reshape(-1)
        return np.ascontiguousarray(matrix.T)
