"""Array types. The first axis is always the batch: one entry a mapping."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def whole(values: Floats) -> Ints:
    """Truncate towards zero, as a C++ conversion to an unsigned integer does.

    Values of mappings that are already illegal may be nan or infinite; they become 0.
    """
    return np.where(np.isfinite(values), values, 0.0).astype(np.int64)


def distinct_rows(flags: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a boolean matrix, and which of them each row is."""
    if len(flags) == 1:
        return flags, np.zeros(1, dtype=np.int64)
    weights = 1 << np.arange(flags.shape[1], dtype=np.int64)
    _, first, group = np.unique(flags @ weights, return_index=True, return_inverse=True)
    return flags[first], group.reshape(-1)


def in_order_sum(values: Floats, axis: int) -> Floats:
    """Sum from first to last, so that the last bit agrees with a plain loop."""
    return np.take(np.cumsum(values, axis=axis), -1, axis=axis)
