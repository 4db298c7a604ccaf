"""Hypergeometric probabilities: Boost's bits, and the closed form in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.sparseloop.density import Hypergeometric
from crisp_loop.sparseloop.hypergeometric import probabilities

BOOST = [  # found, defective, sample, population, as boost::math::pdf of Boost 1.74 prints it (%a)
    (0, 5, 3, 10, "0x1.5555555555555p-4"),
    (2, 60, 40, 170, "0x1.569c4980da63ap-21"),
    (30, 100, 50, 171, "0x1.0cede9ccaa5cp-3"),
    (512, 2048, 1024, 4096, "0x1.d79705e17fd5cp-6"),
    (2080, 2458, 4096, 4840, "0x1.0468ec210fa6bp-5"),
    (30, 49152, 64, 98304, "0x1.67dd34208e8cfp-4"),
    (5000, 52000, 10000, 104723, "0x1.a672b4bd4a995p-8"),
    (1, 1, 104723, 104723, "0x1p+0"),
    (0, 9000, 40, 20000, "0x1.5eaea2b0f224bp-35"),
    (700, 1400, 10000, 20000, "0x1.6a39332fe57dbp-6"),
]


@pytest.mark.parametrize(("found", "defective", "sample", "population", "bits"), BOOST)
def test_the_last_bit_is_boosts(
    found: int, defective: int, sample: int, population: int, bits: str
) -> None:
    (p,) = probabilities(np.array([found]), np.array([defective]), sample, population)
    assert p == float.fromhex(bits)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_probabilities_are_the_closed_form(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 3000))
    sample, defective = data.draw(st.integers(1, population)), data.draw(st.integers(1, population))
    least = max(0, sample + defective - population)
    found = data.draw(st.integers(least, min(sample, defective)))
    ways = comb(defective, found) * comb(population - defective, sample - found)
    exact = Fraction(ways, comb(population, sample))
    (p,) = probabilities(np.array([found]), np.array([defective]), sample, population)
    assert float(p) == pytest.approx(float(exact), rel=1e-15, abs=1e-300)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 5000), st.floats(0.01, 1), st.data())
def test_occupancies_have_the_mean_of_the_tensor(
    tensor: int, density: float, data: st.DataObject
) -> None:
    tile = data.draw(st.integers(1, tensor))
    model = Hypergeometric(density, tensor)
    found = model.occupancies(tile)
    occupied: list[int] = []

    def seen(counts: Any) -> list[Any]:
        occupied.extend(np.ravel(counts).tolist())
        return [counts, 1]

    mean, total = found.expected(seen)
    if not model._least(tile):
        assert total == pytest.approx(1)
        assert mean == pytest.approx(tile * model.nonzeros / tensor)
    assert max(occupied) <= model.most(tile)
    # A column of tiles is its tiles one by one.
    others = np.array([tile, 1, tensor])
    many = model.occupancies(others).expected(lambda counts: [counts])[0]
    one_by_one = [
        model.occupancies(each).expected(lambda counts: [counts])[0] for each in others.tolist()
    ]
    assert many.tolist() == one_by_one
