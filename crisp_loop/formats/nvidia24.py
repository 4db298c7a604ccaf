"""NVIDIA's compressed 2:4 layout, as sparse tensor cores take it.

Of every four weights two are stored, with two 2-bit places: the first value's in the lower bits
(PTX ISA, ``mma.sp``, metadata). Four groups make a 16-bit word for values of 16 bits and more,
eight a 32-bit word for 8-bit values, the first group in the lowest bits. Groups with fewer than two
weights store what CUTLASS does, so that the words equal those of
``torch.sparse.SparseSemiStructuredTensorCUTLASS`` for any matrix. Tensor cores run 32-bit values as
1:2; here, they are stored as 2:4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crisp_loop.core.pattern import blocks_over
from crisp_loop.formats.base import Array, Bits, BoolArray, check_pair, word_bits, zeros_like

Words = npt.NDArray[np.unsignedinteger[Any]]

_NONE = 99
_CODES = np.full(16, _NONE, dtype=np.uint8)
_CODES[[0b0011, 0b0101, 0b1001]] = 0b0100, 0b1000, 0b1100
_CODES[[0b0110, 0b1010, 0b1100]] = 0b1001, 0b1101, 0b1110
_CODES[[0b0000, 0b0001, 0b0010, 0b0100, 0b1000]] = 0b1110, 0b1000, 0b1001, 0b1110, 0b1110
"""What is stored of each mask of four (bit j: place j kept): two places of 2 bits, the lower one in
the lower bits; ``_NONE`` where more than two are kept."""


@dataclass(frozen=True, eq=False)
class Nvidia24Matrix:
    """An S x K matrix that keeps at most 2 of every 4 consecutive weights of a row."""

    values: Array
    """[S, K/2], any dtype."""
    words: Words
    """[S, ceil(K/16)] uint16, or [S, ceil(K/32)] uint32 for 8-bit values; the groups that fill up
    the last word hold places 0 and 1."""
    shape: tuple[int, int]
    """(S, K)."""

    @classmethod
    def encode(cls, mask: BoolArray, weights: Array) -> Nvidia24Matrix:
        """Store what ``mask`` (S x K) keeps of ``weights`` (S x K, any dtype).

        Raises:
            ValueError: a mask that is not 2:4 (1:4 is), or sides that do not fit.
        """
        check_pair(mask, weights)
        rows, columns = mask.shape
        if columns % 4:
            raise ValueError(f"K = {columns} holds no whole groups of 4")
        kept = mask.reshape(rows, columns // 4, 4)
        codes = _CODES[(kept * np.array([1, 2, 4, 8], dtype=np.uint8)).sum(axis=2, dtype=np.uint8)]
        if (codes == _NONE).any():
            raise ValueError("a group keeps more than 2 of 4 weights")
        places = np.stack([codes & 3, codes >> 2], axis=2).astype(np.int64)
        groups = weights.reshape(kept.shape)
        values = zeros_like(weights, places.shape)
        np.copyto(
            values,
            np.take_along_axis(groups, places, axis=2),
            where=np.take_along_axis(kept, places, axis=2),
        )
        word = _word_type(weights)
        per_word = word.itemsize * 2
        wide = np.full((rows, blocks_over(columns // 4, per_word) * per_word), 4, dtype=word)
        wide[:, : columns // 4] = codes
        shifts = (np.arange(per_word) * 4).astype(word)
        words = np.bitwise_or.reduce(wide.reshape(rows, -1, per_word) << shifts, axis=2)
        return cls(values.reshape(rows, columns // 2), words, (rows, columns))

    @property
    def bits(self) -> Bits:
        """Values, and whole words of metadata."""
        return Bits(word_bits(self.values), word_bits(self.words))

    def decode(self) -> Array:
        """The S x K matrix, +0 where no value is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        rows, columns = self.shape
        word = _word_type(self.values)
        per_word = word.itemsize * 2
        count = columns // 4
        if columns % 4 or self.values.shape != (rows, columns // 2):
            raise ValueError(f"values shaped {self.values.shape} do not make {rows} x {columns}")
        if self.words.dtype != word or self.words.shape != (rows, blocks_over(count, per_word)):
            raise ValueError(
                f"expected {blocks_over(count, per_word)} words of {word.itemsize * 8} bits a row"
            )
        shifts = (np.arange(per_word) * 4).astype(word)
        codes = (self.words[:, :, None] >> shifts & word.type(15)).reshape(rows, -1)
        if (codes[:, count:] != 4).any():
            raise ValueError("groups beyond the last column hold other places than 0 and 1")
        codes = codes[:, :count].astype(np.int64)
        places = np.stack([codes & 3, codes >> 2], axis=2)
        if (places[..., 1] <= places[..., 0]).any():
            raise ValueError("places in a group do not ascend")
        groups = zeros_like(self.values, (rows, count, 4))
        np.put_along_axis(groups, places, self.values.reshape(rows, count, 2), axis=2)
        return groups.reshape(rows, columns)

    def reordered(self) -> Words:
        """The words in the order in which CUTLASS's kernels read them, of :attr:`words`'s shape.

        Rows go in fours (16-bit words) or twos, 2 x 2 words are swapped across, and two columns are
        interleaved: ``reorder_meta`` of CUTLASS (tools/util/include/cutlass/util/host_reorder.h) in
        the layout ColumnMajorInterleaved<2>.

        Raises:
            ValueError: S is no multiple of 32 (of 16 for 8-bit values), or the words a row are odd.
        """
        rows, columns = self.words.shape
        group, weave = (32, 4) if self.words.dtype == np.uint16 else (16, 2)
        if rows % group or columns % 2:
            raise ValueError(
                f"{rows} rows of {columns} words cannot be reordered;"
                f" expected a multiple of {group} rows and an even number of words"
            )
        row, column = np.indices((rows, columns))
        row = row // group * group + row % 8 * weave + row % group // 8
        swap = (row % 2 == 0) * (column % 2 == 1) - 1 * ((row % 2 == 1) * (column % 2 == 0))
        row, column = row + swap, column - swap
        ordered = np.empty_like(self.words).reshape(-1)
        ordered[column // 2 * rows * 2 + row * 2 + column % 2] = self.words
        return ordered.reshape(rows, columns)


def _word_type(values: Array) -> np.dtype[Any]:
    return np.dtype(np.uint32 if values.dtype.itemsize == 1 else np.uint16)
