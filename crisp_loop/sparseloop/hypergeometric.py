"""Hypergeometric probabilities to the last bit of those that Timeloop gets from Boost.

Expected occupancies are often whole numbers, and the model then rounds up or down: which way is
decided by the last bits of the probabilities. So they are computed by Boost's steps, in extended
precision, in its order (``boost/math/distributions/detail/hypergeometric_pdf.hpp``): as a quotient
of factorials for small populations, else as a product of powers of primes. Beyond
:data:`LARGEST` Boost approximates, and no two libraries approximate alike.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from decimal import Decimal
from functools import cache, lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from crisp_loop.sparseloop.columns import FloatArray, IntArray

LARGEST = 104_723
"""The largest population that is not approximated: the last prime but one of Boost's table."""
_AT_ONCE = 128
"""Primes whose exponents are found in one sweep."""
_WIDE = np.finfo(np.longdouble)
_MOST, _LEAST = _WIDE.max, _WIDE.tiny
_BY_FACTORIALS = 170
"""The largest factorial in Boost's table."""

Wide = npt.NDArray[np.longdouble]


def probabilities(found: IntArray, defective: IntArray, sample: int, population: int) -> FloatArray:
    """P(``found`` defective ones in a sample), for possible outcomes only.

    Args:
        found: (n,) defective ones in the sample.
        defective: (n,) defective ones in the population.
        sample: Size of the sample.
        population: Size of the population, at most :data:`LARGEST`.
    """
    by = _by_factorials if population <= _BY_FACTORIALS else _by_primes
    up, down = _factorials_of(found, defective, sample, population)
    with np.errstate(over="ignore", under="ignore"):
        return np.clip(by(up, down), 0, 1).astype(np.float64)


def _factorials_of(
    found: IntArray, defective: IntArray, sample: int, population: int
) -> tuple[IntArray, IntArray]:
    """(4, n) and (5, n) numbers whose factorials stand above and below the line."""
    all_of = np.ones_like(found)
    up = [sample * all_of, defective, (population - sample) * all_of, population - defective]
    down = [
        population * all_of,
        found,
        sample - found,
        defective - found,
        population - sample - defective + found,
    ]
    return np.stack(up), np.stack(down)


def _by_factorials(up: IntArray, down: IntArray) -> Wide:
    """Multiply while the result is small, divide while it is large."""
    table = _factorial_table()
    above, below = table[up], table[down]
    columns = np.arange(up.shape[1])
    result = above[0].copy()
    multiplied = np.ones(len(columns), dtype=np.int64)  # by how many of ``above``
    divided = np.zeros(len(columns), dtype=np.int64)
    for _ in range(len(up) + len(down) - 1):
        # Divide by as many as it takes to get below 1, then multiply up again.
        divide = (divided < len(down)) & ((result >= 1) | (multiplied >= len(up)))
        multiply = ~divide & (multiplied < len(up))
        factor = above[np.minimum(multiplied, len(up) - 1), columns]
        divisor = below[np.minimum(divided, len(down) - 1), columns]
        result = np.where(divide, result / divisor, np.where(multiply, result * factor, result))
        divided += divide
        multiplied += multiply
    return result


@cache
def _factorial_table() -> Wide:
    """0! to the largest, rounded once each."""
    factorials = accumulate(range(1, _BY_FACTORIALS + 1), operator.mul, initial=1)
    return np.array([np.longdouble(f"{Decimal(each):.40e}") for each in factorials])


def _by_primes(up: IntArray, down: IntArray) -> Wide:
    """Multiply the powers of all primes that are left over after cancelling, ascending."""
    values = np.ones(up.shape[1], dtype=np.longdouble)
    set_aside: list[list[np.longdouble]] = [[] for _ in values]
    for prime, exponents in _exponents(up, down):
        least = int(exponents.min())
        powers = np.array([_power(prime, each) for each in range(least, int(exponents.max()) + 1)])
        powers = powers[exponents - least]
        too_large = (powers > 1) & (_MOST / powers < values)
        too_small = (powers < 1) & (_LEAST / powers > values)
        for at in (too_large | too_small).nonzero()[0].tolist():
            set_aside[at].append(values[at])
            values[at] = 1
        values = values * powers
    for at, parts in enumerate(set_aside):
        if parts:
            values[at] = _product([*parts, values[at]][::-1])
    return values


def _exponents(up: IntArray, down: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Each prime that does not cancel everywhere, with its (n,) exponents."""
    above, below = up.astype(np.int32), down.astype(np.int32)
    population = int(down.max())
    primes = _primes(population)
    for start in range(0, len(primes), _AT_ONCE):
        some = primes[start : start + _AT_ONCE]
        exponents = np.zeros((len(some), up.shape[1]), dtype=np.int32)
        bases = some.astype(np.int64)
        while (fits := bases <= population).any():
            divisors = bases[fits, None].astype(np.int32)
            for numbers, sign in ((above, 1), (below, -1)):
                for row in numbers:
                    exponents[fits] += sign * (row // divisors)
            bases = np.where(fits, bases * some, bases)
        for prime, each in zip(some.tolist(), exponents, strict=True):
            if each.any():
                yield prime, each.astype(np.int64)


def _product(parts: list[np.longdouble]) -> np.longdouble:
    """The product of large and small numbers, taken in turns so that it stays in range."""
    large, small = [p for p in parts if p >= 1], [p for p in parts if p < 1]
    product = np.longdouble(1)
    while large or small:
        while large and (product <= 1 or not small):
            product *= large.pop(0)
        while small and (product >= 1 or not large):
            product *= small.pop(0)
    return product


@lru_cache(maxsize=65536)
def _power(base: int, exponent: int) -> np.longdouble:
    """``base ** exponent`` by squaring up to the eighth power, by the C library beyond."""
    if exponent < 0:
        return np.longdouble(1) / _power(base, -exponent)
    if exponent == 0:
        return np.longdouble(1)
    wide = np.longdouble(base)
    if exponent > 8:
        return wide ** np.longdouble(exponent)
    if exponent == 1:
        return wide
    half = _power(base, exponent // 2)
    return wide * half * half if exponent % 2 else half * half


@lru_cache(maxsize=64)
def _primes(limit: int) -> IntArray:
    """All primes up to ``limit``."""
    sieve = np.ones(limit + 1, dtype=np.bool_)
    sieve[:2] = False
    for number in range(2, math.isqrt(limit) + 1):
        if sieve[number]:
            sieve[number * number :: number] = False
    return sieve.nonzero()[0]
