"""A plain number and an array of it go the same way, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.sparseloop import columns

# Counts of the model, and what divisions by nothing leave behind.
NUMBERS = st.one_of(
    st.integers(0, 2**50),
    st.floats(-(2.0**50), 2.0**50),
    st.sampled_from([0.0, 1.0, math.inf, -math.inf, math.nan]),
)
OF_ONE: dict[str, Callable[[Any], Any]] = {
    "floor": columns.floor,
    "ceil": columns.ceil,
    "whole": columns.whole,
    "choose": lambda a: columns.choose(a > 1, a, 0.0),
    "negated": lambda a: columns.negated(a > 1),
    "lookup": lambda a: columns.lookup((5, 6, 7), columns.whole(a != 0)),
}
OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "ratio": columns.ratio,
    "least": columns.least,
    "largest": columns.largest,
}


def same(plain: Any, array: np.ndarray) -> bool:
    assert not isinstance(plain, np.ndarray | np.generic)
    return bool(np.array_equal(np.array([plain], dtype=array.dtype), array, equal_nan=True))


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@given(number=NUMBERS)
def test_functions_of_one_column(name: str, number: float) -> None:
    assert same(OF_ONE[name](number), OF_ONE[name](np.array([number])))


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(one=NUMBERS.filter(lambda x: x == x), other=NUMBERS.filter(lambda x: x == x))
def test_functions_of_two_columns(name: str, one: float, other: float) -> None:
    function, other = OF_TWO[name], other + 0  # no divisor of the model is -0.0
    arrays = np.array([float(one)]), np.array([float(other)])
    assert same(float(function(one, other)), function(*arrays))
    # One plain, one not: the plain number counts for all mappings.
    assert same(float(function(one, other)), function(arrays[0], float(other)))


@given(
    st.lists(
        st.one_of(st.integers(0, 9), st.lists(st.integers(0, 2**40), min_size=7, max_size=7)),
        min_size=1,
        max_size=6,
    )
)
def test_kinds_partition_the_mappings(numbers: list[int | list[int]]) -> None:
    given_columns = [np.array(each) if isinstance(each, list) else each for each in numbers]
    lists = (each if isinstance(each, list) else [each] * 7 for each in numbers)
    rows = list(zip(*lists, strict=True))
    seen: dict[int, tuple[int, ...]] = {}
    for which, says in columns.cases(given_columns):
        for at in np.arange(7)[which].tolist():
            assert at not in seen
            seen[at] = says
    assert [seen[at] for at in range(7)] == rows
    total = columns.by_kind(lambda *row: sum(row), *given_columns)
    assert columns.filled(total, 7).tolist() == [sum(row) for row in rows]
    first, kind = columns.distinct(given_columns)
    back = [columns.take(columns.take(each, first), kind) for each in given_columns]
    assert all(map(np.array_equal, back, given_columns))


def test_a_column_that_agrees_is_a_plain_number() -> None:
    assert columns.agreed(np.array([3, 3])) == 3
    assert type(columns.agreed(np.array([3, 3]))) is int
    assert columns.agreed(np.array([3, 4])).tolist() == [3, 4]
    assert columns.merged([(np.array([1]), 2), (np.array([0, 2]), 2)]) == 2
    assert columns.merged([(np.array([1]), "b"), (np.array([0, 2]), "long")]).tolist() == [
        "long",
        "b",
        "long",
    ]
