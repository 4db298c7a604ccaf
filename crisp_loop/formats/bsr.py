"""BSR: CSR of B x B blocks, which are stored whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crisp_loop.core.pattern import blocks_over
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
from crisp_loop.formats.groups import block_grid


@dataclass(frozen=True, eq=False)
class BSRMatrix:
    """An S x K matrix by blocks; any mask, padded with zeros where B does not divide a side."""

    values: Array
    """[blocks, B, B], block-row by block-row from left to right, +0 where masked."""
    column_indices: Bytes
    """Packed words of ceil(log2(K/B)) bits, one a block."""
    row_pointers: Bytes
    """S/B + 1 packed words of ceil(log2(blocks + 1)) bits."""
    shape: tuple[int, int]
    """(S, K), padding excluded."""
    block: int
    """B."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array, block: int) -> BSRMatrix:
        """Store the blocks in which ``mask`` (S x K) keeps any of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask and weights of different shapes, or a block side below 1.
        """
        check_pair(mask, weights)
        if block < 1:
            raise ValueError(f"a block has a side of at least 1, not {block}")
        rows, columns = mask.shape
        kept = block_grid(mask, block)
        masked = zeros_like(weights, (kept.shape[0] * block, kept.shape[1] * block))
        np.copyto(masked[:rows, :columns], weights, where=mask)
        tiles = masked.reshape(kept.shape[0], block, kept.shape[1], block).swapaxes(1, 2)
        return cls(tiles[kept], *compress(kept), (rows, columns), block)

    @property
    def grid(self) -> tuple[int, int]:
        """Block-rows and block-columns."""
        return blocks_over(self.shape[0], self.block), blocks_over(self.shape[1], self.block)

    @property
    def bits(self) -> Bits:
        """Blocks, block-column indices, block-row pointers."""
        block_rows, block_columns = self.grid
        count = len(self.values)
        return Bits(
            word_bits(self.values),
            count * width_for(block_columns),
            pointer_bits(block_rows, count),
        )

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        side = self.block
        if self.values.shape[1:] != (side, side):
            raise ValueError(f"values shaped {self.values.shape} do not make blocks of {side}")
        block_rows, block_columns = self.grid
        places = expand(self.column_indices, self.row_pointers, self.grid, len(self.values))
        tiles = zeros_like(self.values, (block_rows, side, block_columns, side))
        row, column = np.divmod(places, block_columns)
        tiles[row, :, column, :] = self.values
        padded = tiles.reshape(block_rows * side, block_columns * side)
        rows, columns = self.shape
        if (padded[rows:].tobytes() + padded[:, columns:].tobytes()).strip(b"\0"):
            raise ValueError(f"values lie beyond {rows} x {columns}, where padding is 0")
        return np.ascontiguousarray(padded[:rows, :columns])
