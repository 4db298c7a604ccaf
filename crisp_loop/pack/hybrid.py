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

from crisp_loop.core.masks import kept_blocks
from crisp_loop.core.pattern import NM, blocks_over
from crisp_loop.pack.bits import Bytes, pack_bits, unpack_bits, width_for

Array = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]


def offset_width(nm: NM) -> int:
    """Bits of one offset: ceil(log2 M), and none where N = M leaves nothing to say."""
    return 0 if nm.n == nm.m else width_for(nm.m)


@dataclass(frozen=True, eq=False)
class NMMatrix:
    """An S x K matrix that keeps N of every M consecutive weights of a row."""

    values: Array
    """[S, K/M, N], any dtype, in ascending order of their offsets."""
    offsets: Bytes
    """Packed words of ceil(log2 M) bits, one a value, in the values' order."""
    shape: tuple[int, int]
    """(S, K)."""
    nm: NM

    @property
    def offset_bits(self) -> int:
        """Bits of the offsets, padding of the last byte excluded."""
        return self.values.size * offset_width(self.nm)

    @property
    def block_index_bits(self) -> int:
        """0: there are no blocks."""
        return 0

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        n, m = self.nm.n, self.nm.m
        if columns % m or self.values.shape != (rows, columns // m, n):
            raise ValueError(f"values shaped {self.values.shape} do not make {rows} x {columns}")
        return _spread(self.values, self.offsets, self.nm).reshape(rows, columns)


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

    @property
    def grid(self) -> tuple[int, int]:
        """Block-rows and block-columns, (S/B, K/B)."""
        rows, columns = self.shape
        return blocks_over(rows, self.block), blocks_over(columns, self.block)

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

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        side, kept = self.block, self.kept_blocks
        _check_sides(self.shape, self.nm, side)
        block_rows, block_columns = self.grid
        expected = (block_rows, side, kept * side // self.nm.m, self.nm.n)
        if not 0 <= kept <= block_columns or self.values.shape != expected:
            raise ValueError(
                f"values shaped {self.values.shape} do not make {kept} of {block_columns} blocks"
                f" of {side} in {rows} x {columns}"
            )
        compact = _spread(self.values, self.offsets, self.nm)
        blocks = np.zeros((block_rows, block_columns, side, side), dtype=self.values.dtype)
        blocks[np.arange(block_rows)[:, None], self.indices()] = compact.reshape(
            block_rows, side, kept, side
        ).swapaxes(1, 2)
        padded = blocks.swapaxes(1, 2).reshape(block_rows * side, block_columns * side)
        if (padded[rows:] != 0).any() or (padded[:, columns:] != 0).any():
            raise ValueError(f"values lie beyond {rows} x {columns}, where padding is 0")
        return np.ascontiguousarray(padded[:rows, :columns])


def encode_nm(mask: BoolArray, weights: Array, nm: NM) -> NMMatrix:
    """Store an N:M matrix without block indices.

    Args:
        mask: S x K, True where kept.
        weights: S x K, any dtype.
        nm: The pattern.

    Raises:
        ValueError: a mask that is not N:M, or sides that do not fit.
    """
    _check_pair(mask, weights)
    rows, columns = mask.shape
    if columns % nm.m:
        raise ValueError(f"K = {columns} holds no whole groups of {nm.m}")
    groups = (rows, columns // nm.m, nm.m)
    values, offsets = _gather(mask.reshape(groups), weights.reshape(groups), nm)
    return NMMatrix(values, offsets, (rows, columns), nm)


def encode(mask: BoolArray, weights: Array, nm: NM, block: int) -> HybridMatrix:
    """Store a hybrid-sparse matrix; a block is kept when its mask keeps anything.

    Where B does not divide a side, the blocks are those of the matrix padded with zeros.

    Args:
        mask: S x K, True where kept.
        weights: S x K, any dtype.
        nm: The pattern inside kept blocks.
        block: B.

    Raises:
        ValueError: block-rows that keep different numbers of blocks, kept blocks that are not
            N:M, or sides that do not fit.
    """
    _check_pair(mask, weights)
    rows, columns = mask.shape
    _check_sides((rows, columns), nm, block)
    kept = kept_blocks(mask, block)
    per_row = kept.sum(axis=1)
    if per_row.min() != per_row.max():
        raise ValueError(
            f"block-rows {int(per_row.argmin())} and {int(per_row.argmax())} keep"
            f" {per_row.min()} and {per_row.max()} blocks; all must keep the same number"
        )
    count = int(per_row[0])
    indices = np.nonzero(kept)[1].reshape(len(kept), count)
    groups = (len(kept), block, count * block // nm.m, nm.m)
    values, offsets = _gather(
        _compact(mask, indices, block).reshape(groups).astype(np.bool_, copy=False),
        _compact(weights, indices, block).reshape(groups),
        nm,
    )
    packed = pack_bits(indices, width_for(kept.shape[1]))
    return HybridMatrix(values, packed, offsets, (rows, columns), nm, block, count)


def _compact(matrix: Array, indices: npt.NDArray[np.intp], block: int) -> Array:
    """The kept blocks of an S x K matrix side by side, [R, B, K'/B, B], zeros beyond its sides."""
    padding = [(0, -side % block) for side in matrix.shape]
    if any(missing for _, missing in padding):
        matrix = np.pad(matrix, padding)
    blocks = matrix.reshape(len(indices), block, -1, block).swapaxes(1, 2)
    kept = blocks[np.arange(len(indices))[:, None], indices]
    return np.ascontiguousarray(kept.swapaxes(1, 2))


def _gather(mask: BoolArray, weights: Array, nm: NM) -> tuple[Array, Bytes]:
    """Values [..., G, N] and packed offsets of groups [..., G, M].

    Groups with fewer than N weights borrow their first masked places, holding +0.
    """
    counts = mask.sum(axis=-1)
    if counts.max(initial=0) > nm.n:
        raise ValueError(f"a group keeps {counts.max()} of {nm.m} weights, more than {nm}")
    short = nm.n - counts[..., None]
    taken = mask | (~mask & (np.cumsum(~mask, axis=-1) <= short))
    places = np.flatnonzero(taken)
    values = np.where(mask.reshape(-1)[places], weights.reshape(-1)[places], weights.dtype.type(0))
    offsets = pack_bits(places % nm.m if nm.n < nm.m else [], offset_width(nm))
    return values.reshape(*mask.shape[:-1], nm.n), offsets


def _spread(values: Array, offsets: Bytes, nm: NM) -> Array:
    """Groups [..., G, M] from values [..., G, N] and packed offsets: undoes :func:`_gather`."""
    if nm.n == nm.m:
        if offsets.size:
            raise ValueError(f"{nm} has no offsets, yet {offsets.size} bytes of them are given")
        return values
    words = unpack_bits(offsets, offset_width(nm), values.size).reshape(-1, nm.n)
    if words.max(initial=0) >= nm.m or (words[:, 1:] <= words[:, :-1]).any():
        raise ValueError(f"offsets do not ascend below {nm.m}")
    groups = np.zeros((words.shape[0], nm.m), dtype=values.dtype)
    groups[np.arange(words.shape[0])[:, None], words] = values.reshape(-1, nm.n)
    return groups.reshape(*values.shape[:-1], nm.m)


def _check_pair(mask: BoolArray, weights: Array) -> None:
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape != weights.shape or not mask.size:
        raise ValueError(
            f"expected a boolean mask and weights of one shape S x K,"
            f" not {mask.dtype} {mask.shape} and {weights.shape}"
        )


def _check_sides(shape: tuple[int, int], nm: NM, block: int) -> None:
    rows, columns = shape
    if block < 1:
        raise ValueError(f"blocks of {block} do not divide {rows} x {columns}")
    if block % nm.m:
        raise ValueError(f"blocks of {block} hold no whole groups of {nm.m}")
    if columns % nm.m:
        raise ValueError(f"K = {columns} holds no whole groups of {nm.m}")
