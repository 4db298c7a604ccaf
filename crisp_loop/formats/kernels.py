"""Packing and unpacking of N:M groups in kept blocks, in one pass each, compiled by numba.

For M up to 8. The kernels walk kept blocks only, look a group's places up in a table of 2^M
entries, and write offsets as they go. Weights are unsigned words of their own width here: they are
moved, never computed with, so -0.0 and NaN payloads survive. One thread, whatever torch's number
of threads is; the interpreter's lock is free meanwhile.

Blocks have a height and a width of their own, as a matrix without blocks is packed as blocks of
1 x K. A kernel is compiled at its first call for each width of weights, and kept beside this file
or, where that cannot be written, in the user's cache directory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Words = NDArray[np.unsignedinteger[Any]]
Bytes = NDArray[np.uint8]
Indices = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])

MAX_M = 8
_AHEAD = 8
"""Rows that are fetched together."""
BAD_OFFSETS, BEYOND = 1, 2
"""What :func:`scatter` finds wrong: offsets that do not ascend below M, values in the padding."""


def _compiled(function: F) -> F:
    try:
        return njit(nogil=True, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:  # numba's, where no cache directory can be written
        return njit(nogil=True)(function)  # type: ignore[return-value]


@cache
def gather_tables(n: int, m: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """What is stored of a group, for each of its 2^M masks (bit j of the number: place j kept).

    Returns:
        The N places that are stored, ascending, uint8 (2^M, N); 1 where the mask keeps that
        place and 0 where it fills up the group, uint8 (2^M, N); the places as N words of
        ceil(log2 M) bits in one number, int64 (2^M), -1 for masks that keep more than N.
    """
    places = np.zeros((1 << m, n), dtype=np.uint8)
    kept = np.zeros((1 << m, n), dtype=np.uint8)
    codes = np.full(1 << m, -1, dtype=np.int64)
    width = 0 if n == m else (m - 1).bit_length()
    for mask in range(1 << m):
        inside = [j for j in range(m) if mask >> j & 1]
        if len(inside) > n:
            continue
        outside = [j for j in range(m) if not mask >> j & 1]
        taken = sorted(inside + outside[: n - len(inside)])
        places[mask] = taken
        kept[mask] = [mask >> j & 1 for j in taken]
        codes[mask] = sum(j << i * width for i, j in enumerate(taken))
    return places, kept, codes


@_compiled
def scan(mask: Bytes, height: int, width: int, kept: Bytes) -> None:
    """Write 1 into ``kept`` (R, C) for each block of ``mask`` (S, K) that holds a True.

    ``mask`` may come in wider words, K and ``width`` counted in them.
    """
    rows, columns = mask.shape
    for row in range(rows):
        block_row = row // height
        for c in range(kept.shape[1]):
            found = mask.dtype.type(0)
            for k in range(c * width, min((c + 1) * width, columns)):
                found |= mask[row, k]
            if found:
                kept[block_row, c] = 1


@_compiled
def gather(
    mask: Bytes,
    fours: NDArray[np.uint32],
    weights: Words,
    indices: Indices,
    height: int,
    width: int,
    n: int,
    m: int,
    word: int,
    places: Bytes,
    taken: Bytes,
    codes: Indices,
    values: Words,
    offsets: Bytes,
) -> int:
    """Store kept blocks: values and packed offsets, in the order of the format.

    Args:
        mask: (S, K), 0 or 1; M divides K.
        fours: ``mask`` in words of four places for M = 4, else anything with two dimensions.
        weights: (S, K).
        indices: Columns of the kept blocks, (R, K'/B).
        height: Rows of a block.
        width: Columns of a block, a multiple of M.
        n: N.
        m: M.
        word: Bits of an offset.
        places: Of :func:`gather_tables`, as are ``taken`` and ``codes``.
        taken: See ``places``.
        codes: See ``places``.
        values: (R * height * K' / M * N), written.
        offsets: Packed words, written.

    Returns:
        -1, or the place ``row * K + column`` of the first group that keeps more than N.
    """
    rows, columns = mask.shape
    at = 0  # next value
    byte = 0  # next byte of offsets
    pending = np.uint64(0)
    held = 0  # bits in pending
    step = n * word
    zero = weights.dtype.type(0)
    for block_row in range(indices.shape[0]):
        for row in range(block_row * height, (block_row + 1) * height):
            for q in range(indices.shape[1]):
                first = indices[block_row, q] * width
                inside = min(width, columns - first) // m if row < rows else 0
                for group in range(width // m):
                    start = first + group * m
                    pattern = 0
                    if group < inside:
                        if m == 4:  # four bytes of 0 or 1 to four bits
                            pattern = (
                                np.int64(
                                    fours[row, start >> 2] * np.uint64(0x01020408) >> np.uint64(24)
                                )
                                & 15
                            )
                        else:
                            for j in range(m):
                                pattern |= np.int64(mask[row, start + j]) << j
                        code = codes[pattern]
                        if code < 0:
                            return row * columns + start
                        for i in range(n):
                            value = weights[row, start + places[pattern, i]]
                            values[at + i] = value if taken[pattern, i] else zero
                    else:  # padding
                        code = codes[0]
                        for i in range(n):
                            values[at + i] = zero
                    at += n
                    pending |= np.uint64(code) << np.uint64(held)
                    held += step
                    while held >= 8:
                        offsets[byte] = np.uint8(pending & np.uint64(255))
                        byte += 1
                        pending >>= np.uint64(8)
                        held -= 8
    if held > 0:
        offsets[byte] = np.uint8(pending & np.uint64(255))
    return -1


def _table_24() -> NDArray[np.uint64]:
    _, taken, codes = gather_tables(2, 4)
    kept = taken[:, 0].astype(np.int64) << 4 | taken[:, 1].astype(np.int64) << 5
    return np.where(codes < 0, 64, codes | kept).astype(np.uint64)


_TABLE_24 = _table_24()
"""What is stored of each mask of four (bit j: place j kept) at 2:4: its two places in bits 0-1 and
2-3, bits 4 and 5 where the mask keeps them, bit 6 where it keeps more than two."""


@_compiled
def gather_24(
    fours: NDArray[np.uint32],
    weights: Words,
    indices: Indices,
    height: int,
    width: int,
    values: Words,
    offsets: Bytes,
) -> int:
    """:func:`gather` at 2:4 for whole blocks, whose width 8 divides: faster by a third.

    Args:
        fours: The mask in words of four places, (S, K/4).
        weights: (S, K), S and K multiples of height and width.
        indices: Columns of the kept blocks, (R, K'/B).
        height: Rows of a block.
        width: Columns of a block.
        values: (S * K' / 2), written.
        offsets: (S * K' / 8), written.

    Returns:
        -1, or the place of some block's row with a group that keeps more than two.
    """
    spread = np.uint64(0x01020408)  # moves the lowest bit of byte j to bit 24 + j
    zero = weights.dtype.type(0)
    at = np.uint64(0)
    byte = np.uint64(0)
    for block_row in range(indices.shape[0]):
        for row in range(block_row * height, (block_row + 1) * height):
            if row % _AHEAD == 0 and at < values.size:
                values[at] = _touch(weights, indices[block_row], row, width)
            for q in range(indices.shape[1]):
                column = np.uint64(indices[block_row, q] * width)
                group = column >> np.uint64(2)
                seen = np.uint64(0)
                for _ in range(width >> 3):
                    one = _TABLE_24[fours[row, group] * spread >> np.uint64(24) & np.uint64(15)]
                    two = _TABLE_24[
                        fours[row, group + np.uint64(1)] * spread >> np.uint64(24) & np.uint64(15)
                    ]
                    seen |= one | two
                    for half in (one, two):
                        first = column + (half & np.uint64(3))
                        second = column + (half >> np.uint64(2) & np.uint64(3))
                        low, high = weights[row, first], weights[row, second]
                        values[at] = low if half & np.uint64(16) else zero
                        values[at + np.uint64(1)] = high if half & np.uint64(32) else zero
                        at += np.uint64(2)
                        column += np.uint64(4)
                    offsets[byte] = np.uint8(
                        one & np.uint64(15) | (two & np.uint64(15)) << np.uint64(4)
                    )
                    byte += np.uint64(1)
                    group += np.uint64(2)
                if seen & np.uint64(64):
                    return row * weights.shape[1] + indices[block_row, q] * width
    return -1


@njit(nogil=True)
def _touch(weights: Words, indices: Indices, row: int, width: int) -> Any:
    """Read a word of each cache line of the kept blocks in the next rows.

    Blocks are too short for the processor's own prefetching. Reading nothing else for a while
    has many lines on their way at once; the rows that follow find them in cache.

    Returns:
        All words read in one, so that reading them is not optimised away.
    """
    seen = weights.dtype.type(0)
    step = 64 // weights.itemsize
    for near in range(row, min(row + _AHEAD, weights.shape[0])):
        for q in range(indices.size):
            first = indices[q] * width
            for column in range(first, min(first + width, weights.shape[1]), step):
                seen ^= weights[near, column]
    return seen


@_compiled
def scatter_24(
    values: Words, offsets: Bytes, indices: Indices, height: int, width: int, matrix: Words
) -> int:
    """:func:`scatter` at 2:4 for whole blocks, whose width 8 divides.

    Args:
        values: (S * K' / 2).
        offsets: (S * K' / 8).
        indices: Columns of the kept blocks, (R, K'/B), inside the grid.
        height: Rows of a block.
        width: Columns of a block.
        matrix: (S, K), written.

    Returns:
        0 or :data:`BAD_OFFSETS`.
    """
    zero = values.dtype.type(0)
    three = np.uint64(3)
    at = np.uint64(0)
    byte = np.uint64(0)
    wrong = False
    for block_row in range(indices.shape[0]):
        for row in range(block_row * height, (block_row + 1) * height):
            matrix[row, :] = zero
            for q in range(indices.shape[1]):
                column = np.uint64(indices[block_row, q] * width)
                for _ in range(width >> 3):
                    code = np.uint64(offsets[byte])
                    byte += np.uint64(1)
                    for half in (code, code >> np.uint64(4)):
                        first = half & three
                        second = half >> np.uint64(2) & three
                        wrong |= second <= first
                        matrix[row, column + first] = values[at]
                        matrix[row, column + second] = values[at + np.uint64(1)]
                        at += np.uint64(2)
                        column += np.uint64(4)
    return BAD_OFFSETS if wrong else 0


@_compiled
def scatter(
    values: Words,
    offsets: Bytes,
    indices: Indices,
    height: int,
    width: int,
    n: int,
    m: int,
    word: int,
    matrix: Words,
) -> int:
    """Write a whole matrix from what :func:`gather` stored.

    Args:
        values: (R * height * K' / M * N).
        offsets: Packed words, exactly as many bytes as they take.
        indices: Columns of the kept blocks, (R, K'/B), ascending and inside the grid.
        height: Rows of a block.
        width: Columns of a block.
        n: N.
        m: M.
        word: Bits of an offset.
        matrix: (S, K), written.

    Returns:
        0, :data:`BAD_OFFSETS` or :data:`BEYOND`.
    """
    rows, columns = matrix.shape
    at = 0
    byte = 0
    pending = np.uint64(0)
    held = 0
    step = n * word
    mask = (np.uint64(1) << np.uint64(step)) - np.uint64(1)
    low = (np.uint64(1) << np.uint64(word)) - np.uint64(1)
    zero = values.dtype.type(0)
    wrong = 0
    beyond = zero
    for block_row in range(indices.shape[0]):
        for row in range(block_row * height, (block_row + 1) * height):
            done = 0  # columns written
            for q in range(indices.shape[1]):
                first = indices[block_row, q] * width
                inside = min(width, columns - first) if row < rows else 0
                if inside:
                    matrix[row, done : first + inside] = zero
                    done = first + inside
                for start in range(first, first + width, m):
                    while held < step:
                        pending |= np.uint64(offsets[byte]) << np.uint64(held)
                        byte += 1
                        held += 8
                    code = pending & mask
                    pending >>= np.uint64(step)
                    held -= step
                    last = -1
                    for i in range(n):
                        place = i if word == 0 else np.int64(code & low)
                        code >>= np.uint64(word)
                        wrong |= np.int64(place <= last) | np.int64(place >= m)
                        last = place
                        if wrong:
                            return BAD_OFFSETS
                        if start < first + inside:
                            matrix[row, start + place] = values[at + i]
                        else:
                            beyond |= values[at + i]
                    at += n
            if row < rows:
                matrix[row, done:] = zero
    return BEYOND if beyond else 0
