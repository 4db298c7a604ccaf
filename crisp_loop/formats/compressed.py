"""Rows of different lengths behind pointers: what CSR, CSC and BSR have in common."""

from __future__ import annotations

import numpy as np

from crisp_loop.formats.base import BoolArray, Bytes, Places
from crisp_loop.formats.bits import pack_bits, unpack_bits, width_for


def compress(kept: BoolArray) -> tuple[Bytes, Bytes]:
    """Column indices of the kept places, row by row, and where each row starts; both packed.

    Args:
        kept: bool (rows, columns).

    Returns:
        One word of ceil(log2 columns) bits a place; rows + 1 words of ceil(log2(places + 1)).
    """
    places = np.flatnonzero(kept)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))])
    indices = pack_bits(places % kept.shape[1], width_for(kept.shape[1]))
    return indices, pack_bits(starts, width_for(len(places) + 1))


def expand(indices: Bytes, pointers: Bytes, shape: tuple[int, int], count: int) -> Places:
    """The flat places ``row * columns + column`` of ``count`` entries: undoes :func:`compress`.

    Raises:
        ValueError: streams of a wrong length, pointers that do not run from 0 up to ``count``, or
            indices that do not ascend in a row.
    """
    rows, columns = shape
    starts = unpack_bits(pointers, width_for(count + 1), rows + 1).astype(np.int64)
    lengths = np.diff(starts)
    if starts[0] != 0 or starts[-1] != count or (lengths < 0).any():
        raise ValueError(f"pointers do not ascend from 0 to {count}")
    column = unpack_bits(indices, width_for(columns), count).astype(np.int64)
    places = np.repeat(np.arange(rows), lengths) * columns + column
    if (column >= columns).any() or (np.diff(places) <= 0).any():
        raise ValueError(f"indices do not ascend below {columns}")
    return places


def pointer_bits(rows: int, count: int) -> int:
    """Bits of rows + 1 pointers to ``count`` entries."""
    return (rows + 1) * width_for(count + 1)
