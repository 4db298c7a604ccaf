"""How the target sparsity rises over the iterations."""

from __future__ import annotations

from fractions import Fraction

from crisp_loop.core.pattern import as_fraction
from crisp_loop.prune.config import PruneConfig


def kappa(iteration: int, config: PruneConfig, pattern_zeros: int, weights: int) -> Fraction:
    """Target sparsity after iteration p of n.

    ``linear``: kappa_0 + p/n * (kappa - kappa_0); Algorithm 1, line 3, where Delta is read as
    p equal steps. ``cubic``: kappa - (kappa - kappa_0) * (1 - p/n)^3; Zhu and Gupta, "To prune,
    or not to prune", 2017 (Eq. 1).

    Args:
        iteration: p, 1 to n.
        config: kappa, n and the schedule.
        pattern_zeros: Zeros that the N:M pattern alone makes; kappa_0 is their share, 1 - N/M
            where all counted layers have the pattern.
        weights: Weights that kappa is a share of.
    """
    start = Fraction(pattern_zeros, weights)
    target = as_fraction(config.sparsity)
    done = Fraction(iteration, config.iterations)
    if config.schedule == "cubic":
        done = 1 - (1 - done) ** 3
    return start + done * (target - start)


def weights_to_prune(kappa_p: Fraction, weights: int) -> int:
    """Zeros among ``weights`` weights at sparsity ``kappa_p``, rounded to the nearest."""
    return round(kappa_p * weights)
