"""N:M masks and column sums of |g * w| in one reading of g and w, compiled by numba.

For CPUs. One thread goes through a layer row by row, and a row's intermediate results stay in the
first caches: memory is read once for g and w and written once for the mask, with no array of
scores. The products are the float64 ones of torch's path, so the masks are the same bit by bit.

A kernel is compiled for each M, kernel size and weight dtype, at its first call, and kept beside
this file or, where that cannot be written, in the user's cache directory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crisp_loop.core.pattern import blocks_over

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]


def mask_and_sum(
    gradient: Floats, weight: Floats, n: int, m: int, block: int, mask: Booleans
) -> NDArray[np.float64]:
    """Keep the N largest |g * w| of M consecutive channels, and sum those kept over B rows.

    Args:
        gradient: g, float64, finite: S x C_in x (kh * kw), C-contiguous, as all arrays here.
        weight: w, float32 or float64, finite, of the same shape.
        n: How many of M stay; of equal scores the earlier channel does.
        m: Divides C_in.
        block: B; the last sum is over fewer rows where it does not divide S.
        mask: Of the same shape; True is written for weights that stay.

    Returns:
        float64, ceil(S/B) x C_in x (kh * kw).
    """
    rows, channels, places = gradient.shape
    sums = np.zeros((blocks_over(rows, block), channels, places))
    flat = (rows, channels * places)
    _compiled_for(m, places)(
        gradient.reshape(flat),
        weight.reshape(flat),
        n,
        block,
        mask.reshape(flat),
        sums.reshape(len(sums), -1),
    )
    return sums


@cache
def _compiled_for(m: int, places: int) -> Callable[..., None]:
    """The loop over rows; M and kh * kw are constants in it, so that inner loops unroll."""

    def mask_rows(
        gradient: Floats, weight: Floats, n: int, block: int, mask: Booleans, sums: Floats
    ) -> None:
        scores = np.empty(gradient.shape[1])
        for row in range(gradient.shape[0]):
            _multiply(gradient[row], weight[row], scores)
            _keep_best(scores, n, m, places, mask[row])
            _add_kept(scores, mask[row], sums[row // block])

    try:
        return njit(nogil=True, cache=True)(mask_rows)
    except RuntimeError:  # numba's, where no cache directory can be written
        return njit(nogil=True)(mask_rows)


@njit(nogil=True)
def _multiply(gradient: Floats, weight: Floats, scores: Floats) -> None:
    for i in range(scores.size):
        scores[i] = abs(gradient[i] * weight[i])


@njit(nogil=True, forceinline=True)
def _keep_best(scores: Floats, n: int, m: int, places: int, mask: Booleans) -> None:
    """A weight stays if fewer than N of its group are ahead of it, equal earlier ones included."""
    for group in range(scores.size // (m * places)):
        for place in range(places):
            first = group * m * places + place
            for j in range(m):
                own = scores[first + j * places]
                ahead = 0
                for i in range(j):
                    ahead += np.int64(scores[first + i * places] >= own)
                for i in range(j + 1, m):
                    ahead += np.int64(scores[first + i * places] > own)
                mask[first + j * places] = ahead < n


@njit(nogil=True)
def _add_kept(scores: Floats, mask: Booleans, sums: Floats) -> None:
    for i in range(scores.size):
        sums[i] += scores[i] if mask[i] else 0.0
