"""Array types. The first axis is always the batch: one entry a mapping."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def whole(values: npt.NDArray[Any]) -> Ints:
    """Truncate towards zero, as a C++ conversion to an unsigned integer does."""
    return values.astype(np.int64)


def distinct_rows(flags: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a boolean matrix, and which of them each row is."""
    first, group = first_rows(np.packbits(flags, axis=1))
    return flags[first], group


def first_rows(values: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """The first of each distinct row, and which of the distinct ones each row is."""
    if len(values) == 1:
        one = np.zeros(1, dtype=np.int64)
        return one, one
    rows = np.ascontiguousarray(values)
    rows = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return first, group.reshape(-1)


def in_order_sum(values: npt.NDArray[Any], axis: int) -> Floats:
    """Sum from first to last, so that the last bit agrees with a plain loop."""
    return np.take(np.cumsum(values, axis=axis), -1, axis=axis)
