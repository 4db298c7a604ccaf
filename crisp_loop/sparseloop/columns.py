"""Columns: one number for each mapping of a batch.

A column is an array with an entry a mapping, or a plain number where all mappings agree. So the
model is written once, number by number: a batch runs through numpy, and a single mapping, with
nothing to disagree, through plain arithmetic, some ten times as fast as arrays of one. Both are
IEEE's, so the figures are the same to the last bit (of counts below 2**53, as all are).

Python's own operators serve both, but for these functions, which numpy and plain numbers spell
differently. A flag is ``True``, ``False`` or an array of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy import ndarray

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
FlagArray: TypeAlias = npt.NDArray[np.bool_]
# The arithmetic of numpy's types with plain ones is beyond a type checker; the names tell.
Ints: TypeAlias = Any
"""int, or an int64 array with an entry a mapping."""
Floats: TypeAlias = Any
"""float, or a float64 array."""
Flags: TypeAlias = Any
"""bool, or an array of them."""
Texts: TypeAlias = Any
"""str, or an array of them."""
Rows: TypeAlias = Any
"""Which mappings: ``ALL``, or an array of their numbers."""

ALL = slice(None)
_LOST = -(2**63)
"""What a conversion of inf or nan to a whole number gives."""


def choose(where: Flags, yes: Any, no: Any) -> Any:
    """``yes`` or ``no``, mapping by mapping."""
    if where is True:
        return yes
    if where is False:
        return no
    return np.where(where, yes, no)


def negated(flags: Flags) -> Flags:
    """True where ``flags`` is False."""
    return ~flags if type(flags) is ndarray else not flags


def anywhere(flags: Flags) -> bool:
    """Whether any mapping is flagged."""
    return bool(flags.any()) if type(flags) is ndarray else flags


def plainly(value: Any, number: object) -> bool:
    """Whether ``value`` is plainly ``number``, in all mappings."""
    return type(value) is not ndarray and value == number


def floor(values: Floats) -> Ints:
    """The next whole number below."""
    if type(values) is ndarray:
        return np.floor(values).astype(np.int64)
    try:
        return math.floor(values)
    except (OverflowError, ValueError):  # inf and nan
        return _LOST


def ceil(values: Floats) -> Ints:
    """The next whole number above."""
    if type(values) is ndarray:
        return np.ceil(values).astype(np.int64)
    try:
        return math.ceil(values)
    except (OverflowError, ValueError):
        return _LOST


def whole(values: Floats) -> Ints:
    """Truncate towards zero, as a C++ conversion to an unsigned integer does."""
    if type(values) is ndarray:
        return values.astype(np.int64)
    try:
        return int(values)
    except (OverflowError, ValueError):
        return _LOST


def ratio(values: Any, to: Any) -> Floats:
    """``values / to`` where that may be a division by 0: inf or nan, as in C++."""
    if type(to) is ndarray or to:
        return values / to
    return values * math.inf


def least(one: Any, other: Any) -> Any:
    """The smaller of two."""
    if type(one) is ndarray or type(other) is ndarray:
        return np.minimum(one, other)
    return min(one, other)


def largest(first: Any, *others: Any) -> Any:
    """The largest of some."""
    for other in others:
        if type(first) is ndarray or type(other) is ndarray:
            first = np.maximum(first, other)
        elif other > first:
            first = other
    return first


def lookup(table: Sequence[int], places: Ints) -> Ints:
    """``table[place]``."""
    return np.array(table)[places] if type(places) is ndarray else table[places]


def entry(values: Any, mapping: int) -> Any:
    """The plain number of one mapping."""
    return values.item(mapping) if type(values) is ndarray else values


def take(values: Any, rows: Rows) -> Any:
    """The column of some mappings, in the order of ``rows``."""
    return values[rows] if type(values) is ndarray else values


def take_each(columns: Sequence[Any], rows: Rows) -> list[Any]:
    """:func:`take` for a list of columns."""
    return [*columns] if rows is ALL else [take(values, rows) for values in columns]


def filled(values: Any, length: int) -> npt.NDArray[Any]:
    """The column as an array, whether or not all mappings agree."""
    return values if type(values) is ndarray else np.full(length, values)


def agreed(values: npt.NDArray[Any]) -> Any:
    """``values`` as a column: a plain number where all mappings agree."""
    first = values[0]
    return first.item() if (values == first).all() else values


def distinct(columns: Iterable[Ints]) -> tuple[Rows, Rows]:
    """The first mapping of each kind, and which kind each mapping is.

    Mappings are of one kind when all columns, of numbers 0 or more, say the same of them. Taking
    the first keeps one mapping of a kind; taking the second from what was found for kinds hands it
    back to all. Each row of numbers becomes one number, digit by digit.
    """
    codes: Ints = 0
    codes_to = 1
    for column in columns:
        if type(column) is not ndarray:
            continue
        digits = int(column.max()) + 1
        if codes_to * digits >= 2**62:
            kinds, codes = np.unique(codes, return_inverse=True)
            codes_to = len(kinds)
            if codes_to * digits >= 2**62:
                kinds, column = np.unique(column, return_inverse=True)
                digits = len(kinds)
        codes = codes * digits + column
        codes_to *= digits
    if codes_to == 1:
        return ALL, ALL
    _, first, kind = np.unique(codes, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def cases(columns: Sequence[Ints]) -> list[tuple[Rows, tuple[int, ...]]]:
    """The mappings of each kind, and what the columns say of them."""
    if ndarray not in map(type, columns):
        return [(ALL, tuple(columns))]
    first, kind = distinct(columns)
    if first is ALL:
        return [(ALL, tuple(entry(column, 0) for column in columns))]
    says = (filled(column, len(kind))[first].tolist() for column in columns)
    found = list(zip(*says, strict=True))
    if len(found) == 1:
        return [(ALL, found[0])]
    in_kinds = np.argsort(kind, kind="stable")
    ends = np.cumsum(np.bincount(kind))
    return list(zip(np.split(in_kinds, ends[:-1]), found, strict=True))


def merged(parts: Sequence[tuple[Rows, Any]]) -> Any:
    """One column out of what was found for each of several :func:`cases`."""
    first = parts[0][1]
    if len(parts) == 1 or all(plainly(values, first) for _, values in parts):
        return first
    kind = np.result_type(*(np.asarray(values) for _, values in parts))
    found = np.empty(sum(len(rows) for rows, _ in parts), dtype=kind)
    for rows, values in parts:
        found[rows] = values
    return found


def merged_each(parts: Sequence[tuple[Rows, list[Any]]]) -> list[Any]:
    """:func:`merged` for lists of columns."""
    if len(parts) == 1:
        return parts[0][1]
    places = range(len(parts[0][1]))
    return [merged([(rows, columns[at]) for rows, columns in parts]) for at in places]


def by_kind(function: Callable[..., int], *columns: Ints) -> Ints:
    """``function`` of plain numbers, asked once a kind of mapping."""
    return merged([(rows, function(*numbers)) for rows, numbers in cases(columns)])


def once_a_number(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``function`` of a column, asked only once for each plain number."""
    known: dict[float, Any] = {}

    def asked(values: Any) -> Any:
        if type(values) is ndarray:
            return function(values)
        if values not in known:
            known[values] = function(values)
        return known[values]

    return asked


def in_order_sum(values: npt.NDArray[Any]) -> Floats:
    """Sum over the first axis from first to last, so that the last bit agrees with a plain loop."""
    total = np.cumsum(values, axis=0)[-1]
    return total if total.ndim else total.item()
