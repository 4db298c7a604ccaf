"""Pareto fronts against the definition, pair by pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.pareto import on_front

CHOICES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=24)


def beaten(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether ``other`` is at least as accurate and cheap, and better in one of them."""
    return other[0] >= one[0] and other[1] <= one[1] and other != one


@given(CHOICES)
def test_the_front_is_what_nothing_beats(choices: list[tuple[int, int]]) -> None:
    accuracy, cost = zip(*choices, strict=True)
    expected = [not any(beaten(one, other) for other in choices) for one in choices]
    assert on_front(accuracy, cost).tolist() == expected


def test_equal_choices_stand_together() -> None:
    assert on_front([0.9, 0.9, 0.8], [1.0, 1.0, 1.0]).tolist() == [True, True, False]
    assert on_front(np.array([0.5]), np.array([3.0])).tolist() == [True]
