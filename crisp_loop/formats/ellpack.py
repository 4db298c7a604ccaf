"""ELLPACK: as many slots in every row as the longest row needs.

Slots behind a row's last non-zero hold +0 and repeat its column (0 in an empty row): an index that
does not ascend says that nothing is there, so no bits are spent on saying so.
"""

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
class ELLPACKMatrix:
    """An S x K matrix in rows of one length; any mask."""

    values: Array
    """[S, longest row], each row from left to right, +0 in slots left over."""
    column_indices: Bytes
    """Packed words of ceil(log2 K) bits, one a slot."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> ELLPACKMatrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes.
        """
        check_pair(mask, weights)
        rows, columns = mask.shape
        lengths = np.count_nonzero(mask, axis=1)
        row, column = np.nonzero(mask)
        slot = np.arange(row.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        values = zeros_like(weights, (rows, int(lengths.max())))
        values[row, slot] = weights[mask]
        indices = np.zeros(values.shape, dtype=np.int64)
        indices[row, slot] = column
        indices = np.maximum.accumulate(indices, axis=1)
        return cls(values, pack_bits(indices, width_for(columns)), (rows, columns))

    @property
    def bits(self) -> Bits:
        """Slots and their column indices."""
        return Bits(word_bits(self.values), self.values.size * width_for(self.shape[1]))

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        if self.values.ndim != 2 or len(self.values) != rows:
            raise ValueError(f"values shaped {self.values.shape} do not make {rows} rows")
        words = unpack_bits(self.column_indices, width_for(columns), self.values.size)
        indices = words.reshape(self.values.shape).astype(np.int64)
        if (indices >= columns).any() or (np.diff(indices, axis=1) < 0).any():
            raise ValueError(f"indices do not ascend below {columns}")
        taken = np.ones(indices.shape, dtype=np.bool_)
        taken[:, 1:] = np.diff(indices, axis=1) > 0
        if self.values[~taken].tobytes().strip(b"\0"):
            raise ValueError("slots that repeat a column hold values")
        matrix = zeros_like(self.values, self.shape)
        row, _ = np.nonzero(taken)
        matrix[row, indices[taken]] = self.values[taken]
        return matrix
