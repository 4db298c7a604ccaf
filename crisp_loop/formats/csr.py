"""CSR: compressed sparse rows. A column index a non-zero, and where each row starts."""

from __future__ import annotations

from dataclasses import dataclass

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
class CSRMatrix:
    """An S x K matrix by rows; any mask."""

    values: Array
    """[nnz], row by row from left to right."""
    column_indices: Bytes
    """Packed words of ceil(log2 K) bits, one a value."""
    row_pointers: Bytes
    """S + 1 packed words of ceil(log2(nnz + 1)) bits."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> CSRMatrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes.
        """
        check_pair(mask, weights)
        return cls(weights[mask], *compress(mask), (mask.shape[0], mask.shape[1]))

    @property
    def bits(self) -> Bits:
        """Values, column indices, row pointers."""
        count = self.values.size
        return Bits(
            word_bits(self.values),
            count * width_for(self.shape[1]),
            pointer_bits(self.shape[0], count),
        )

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        places = expand(self.column_indices, self.row_pointers, self.shape, self.values.size)
        matrix = zeros_like(self.values, self.shape)
        matrix.reshape(-1)[places] = self.values.reshape(-1)
        return matrix
