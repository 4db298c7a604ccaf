"""How the target sparsity rises over the iterations."""

from __future__ import annotations

from fractions import Fraction

from crisp_loop.core.errors import InputError
from crisp_loop.core.pattern import NM, as_fraction


def kappa(iteration: int, iterations: int, sparsity: float, nm: NM) -> Fraction:
    """Target sparsity after iteration p of n: (1 - N/M) + p/n * (kappa - (1 - N/M)).

    Algorithm 1, line 3, where Delta is read as p equal steps.

    Args:
        iteration: p, 1 to n.
        iterations: n.
        sparsity: kappa, the target after the last iteration.
        nm: N:M.

    Raises:
        InputError: ``sparsity`` is below 1 - N/M, which N:M alone exceeds.
    """
    floor = 1 - nm.density
    target = as_fraction(sparsity)
    if target < floor:
        raise InputError(
            "sparsity",
            "",
            sparsity,
            f"{nm} alone prunes {float(floor):g}, so expected at least that",
        )
    return floor + Fraction(iteration, iterations) * (target - floor)


def weights_to_prune(kappa_p: Fraction, weights: int) -> int:
    """Zeros among ``weights`` weights at sparsity ``kappa_p``, rounded to the nearest."""
    return round(kappa_p * weights)
