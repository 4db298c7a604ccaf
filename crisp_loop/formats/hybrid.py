"""CRISP's weight format: Blocked-ELLPACK block indices and N:M offsets (paper, section III.A).

A weight matrix S x K keeps K'/B blocks of B x B in each block-row, the same number in all of
them, and N of every M weights inside a kept block. A matrix whose sides B does not divide is
stored as if zeros filled it up at its end; S and K below are then those of the filled matrix, but
for the shape. What is stored:

* the values, exactly N a group; a group that keeps fewer is filled up with zeros,
* for each kept block its column in the block grid, ceil(log2(K/B)) bits,
* for each value its place in the group of M, ceil(log2 M) bits.

Values are moved, never computed with: -0.0 and NaN payloads survive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crisp_loop.core.pattern import NM, blocks_over
from crisp_loop.formats.base import Array, Bits, BoolArray, Bytes, check_pair, word_bits
from crisp_loop.formats.bits import check_size, pack_bits, unpack_bits, width_for
from crisp_loop.formats.groups import (
    block_grid,
    check_offsets,
    offset_width,
    pack_groups,
    unpack_groups,
)


@dataclass(frozen=True, eq=False)
class HybridMatrix:
    """An S x K matrix whose block-rows keep equally many B x B blocks, each of them N:M."""

    values: Array
    """[R, B, K'/M, N] with R = S/B block-rows, any dtype; the groups run over the kept blocks
    from left to right. Places beyond the shape hold 0."""
    block_indices: Bytes
    """Packed words of ceil(log2(K/B)) bits, K'/B a block-row, ascending."""
    offsets: Bytes
    """Packed words of ceil(log2 M) bits, one a value, in the values' order."""
    shape: tuple[int, int]
    """(S, K) of the matrix itself, padding excluded."""
    nm: NM
    block: int
    """B."""
    kept_blocks: int
    """K'/B."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array, nm: NM, block: int) -> HybridMatrix:
        """Store a hybrid-sparse matrix; a block is kept when its mask keeps anything.

        Where B does not divide a side, the blocks are those of the matrix padded with zeros.

        Args:
            mask: S x K, True where kept.
            weights: S x K, any dtype.
            nm: The pattern inside kept blocks.
            block: B.

        Raises:
            ValueError: block-rows that keep different numbers of blocks, kept blocks that are
                not N:M, or sides that do not fit.
        """
        check_pair(mask, weights)
        rows, columns = mask.shape
        _check_sides((rows, columns), nm, block)
        kept = block_grid(mask, block)
        per_row = kept.sum(axis=1)
        if per_row.min() != per_row.max():
            raise ValueError(
                f"block-rows {int(per_row.argmin())} and {int(per_row.argmax())} keep"
                f" {per_row.min()} and {per_row.max()} blocks; all must keep the same number"
            )
        count = int(per_row[0])
        indices = np.nonzero(kept)[1].reshape(len(kept), count)
        values, offsets = pack_groups(mask, weights, indices, (block, block), nm)
        packed = pack_bits(indices, width_for(kept.shape[1]))
        return cls(values, packed, offsets, (rows, columns), nm, block, count)

    @property
    def grid(self) -> tuple[int, int]:
        """Block-rows and block-columns, (S/B, K/B)."""
        rows, columns = self.shape
        return blocks_over(rows, self.block), blocks_over(columns, self.block)

    @property
    def bits(self) -> Bits:
        """Values; block indices and offsets. There are no pointers: block-rows are equally long."""
        return Bits(word_bits(self.values), self.block_index_bits + self.offset_bits)

    @property
    def block_index_bits(self) -> int:
        """Bits of the block indices, padding of the last byte excluded."""
        block_rows, block_columns = self.grid
        return block_rows * self.kept_blocks * width_for(block_columns)

    @property
    def offset_bits(self) -> int:
        """Bits of the offsets, padding of the last byte excluded."""
        return self.values.size * offset_width(self.nm)

    def indices(self) -> npt.NDArray[np.intp]:
        """Columns of the kept blocks in the block grid, [R, K'/B].

        Raises:
            ValueError: indices that do not ascend or that point outside the matrix.
        """
        block_rows, block_columns = self.grid
        words = unpack_bits(
            self.block_indices, width_for(block_columns), block_rows * self.kept_blocks
        )
        table = words.reshape(block_rows, self.kept_blocks).astype(np.intp)
        if (table >= block_columns).any() or (np.diff(table, axis=1) <= 0).any():
            raise ValueError(f"block indices do not ascend below {block_columns}")
        return table

    def kept(self) -> BoolArray:
        """Which blocks are kept, bool (S/B, K/B)."""
        grid = np.zeros(self.grid, dtype=np.bool_)
        np.put_along_axis(grid, self.indices(), True, axis=1)
        return grid

    def decode(self, out: Array | None = None) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Args:
            out: Where to write it, C-contiguous (S, K) of the values' dtype; a new array if None.
                After an error its content is undefined.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        self.check()
        sides = (self.block, self.block)
        return unpack_groups(
            self.values, self.offsets, self.indices(), sides, self.nm, self.shape, out
        )

    def check(self) -> None:
        """Whether the parts have sizes that fit each other, in no time and no memory.

        Raises:
            ValueError: they do not; the message says which.
        """
        _check_sides(self.shape, self.nm, self.block)
        rows, columns = self.shape
        side, kept = self.block, self.kept_blocks
        block_rows, block_columns = self.grid
        expected = (block_rows, side, kept * side // self.nm.m, self.nm.n)
        if not 0 <= kept <= block_columns or self.values.shape != expected:
            raise ValueError(
                f"values shaped {self.values.shape} do not make {kept} of {block_columns} blocks"
                f" of {side} in {rows} x {columns}"
            )
        check_size(self.block_indices, width_for(block_columns), block_rows * kept)
        check_offsets(self.values, self.offsets, self.nm)


def _check_sides(shape: tuple[int, int], nm: NM, block: int) -> None:
    rows, columns = shape
    if block < 1:
        raise ValueError(f"blocks of {block} do not divide {rows} x {columns}")
    if block % nm.m:
        raise ValueError(f"blocks of {block} hold no whole groups of {nm.m}")
    if columns % nm.m:
        raise ValueError(f"K = {columns} holds no whole groups of {nm.m}")
