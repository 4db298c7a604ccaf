"""Plain N:M: N values of every M consecutive weights of a row, and their places in the group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crisp_loop.core.pattern import NM
from crisp_loop.formats.base import Array, Bits, BoolArray, Bytes, check_pair, word_bits
from crisp_loop.formats.groups import check_offsets, offset_width, pack_groups, unpack_groups


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

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array, nm: NM) -> NMMatrix:
        """Store an N:M matrix; a group that keeps fewer than N is filled up with zeros.

        Args:
            mask: S x K, True where kept.
            weights: S x K, any dtype.
            nm: The pattern.

        Raises:
            ValueError: a mask that is not N:M, or sides that do not fit.
        """
        check_pair(mask, weights)
        rows, columns = mask.shape
        if columns % nm.m:
            raise ValueError(f"K = {columns} holds no whole groups of {nm.m}")
        every_row = np.zeros((rows, 1), dtype=np.int64)
        values, offsets = pack_groups(mask, weights, every_row, (1, columns), nm)
        return cls(values.reshape(rows, columns // nm.m, nm.n), offsets, (rows, columns), nm)

    @property
    def bits(self) -> Bits:
        """Values and offsets."""
        return Bits(word_bits(self.values), self.offset_bits)

    @property
    def offset_bits(self) -> int:
        """Bits of the offsets, padding of the last byte excluded."""
        return self.values.size * offset_width(self.nm)

    @property
    def block_index_bits(self) -> int:
        """0: there are no blocks."""
        return 0

    def decode(self, out: Array | None = None) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Args:
            out: Where to write it, C-contiguous (S, K) of the values' dtype; a new array if None.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        self.check()
        rows, columns = self.shape
        every_row = np.zeros((rows, 1), dtype=np.int64)
        return unpack_groups(
            self.values, self.offsets, every_row, (1, columns), self.nm, self.shape, out
        )

    def check(self) -> None:
        """Whether the parts have sizes that fit each other, in no time and no memory.

        Raises:
            ValueError: they do not; the message says which.
        """
        rows, columns = self.shape
        n, m = self.nm.n, self.nm.m
        if columns % m or self.values.shape != (rows, columns // m, n):
            raise ValueError(f"values shaped {self.values.shape} do not make {rows} x {columns}")
        check_offsets(self.values, self.offsets, self.nm)
