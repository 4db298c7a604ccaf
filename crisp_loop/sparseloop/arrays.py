"""Array types. The first axis is always the batch: one entry a mapping.

Matrices are stored column by column (Fortran's order), so that what is done to all mappings of a
batch runs through memory from end to end.
"""

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


def columns(batch: int, count: int, dtype: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
    """An empty (batch, count) matrix, stored column by column."""
    return np.empty((batch, count), dtype=dtype, order="F")


def distinct_rows(flags: Bools) -> tuple[Bools, Ints]:
    """The distinct rows of a boolean matrix, and which of them each row is."""
    first, group = first_rows(flags)
    return flags[first], group


def first_rows(values: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """The first of each distinct row, and which of the distinct ones each row is.

    Rows of numbers 0 or more become one number each, digit by digit.
    """
    if len(values) == 1:
        one = np.zeros(1, dtype=np.int64)
        return one, one
    codes, codes_to = np.zeros(len(values), dtype=np.int64), 1
    for column in values.T:
        digits = int(column.max()) + 1
        if digits == 1:
            continue
        if codes_to * digits >= 2**62:
            distinct, codes = np.unique(codes, return_inverse=True)
            codes_to = len(distinct)
            if codes_to * digits >= 2**62:
                distinct, column = np.unique(column, return_inverse=True)
                digits = len(distinct)
        codes = codes * digits + column
        codes_to *= digits
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    return first, group.reshape(-1)


def members(group: Ints, groups: int) -> list[Ints] | list[slice]:
    """The rows of each group; a slice where there is one group."""
    if groups == 1:
        return [slice(None)]
    in_groups = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=groups))
    return np.split(in_groups, ends[:-1])


def spread(values: npt.NDArray[Any], group: Ints) -> npt.NDArray[Any]:
    """``values[group]``, stored column by column."""
    return np.take(values.T, group, axis=-1).T


def in_order_sum(values: npt.NDArray[Any], axis: int) -> Floats:
    """Sum from first to last, so that the last bit agrees with a plain loop."""
    return np.take(np.cumsum(values, axis=axis), -1, axis=axis)
