"""Which of some choices no other one beats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def on_front(accuracy: npt.ArrayLike, cost: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each choice is on the Pareto front: none is better in one and no worse in the other.

    Args:
        accuracy: (choices,) the more the better.
        cost: (choices,) the less the better.

    Returns:
        bool (choices,); choices that are equal in both stand on the front together.
    """
    gain, price = np.asarray(accuracy, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    order = np.lexsort((-gain, price))
    front = np.zeros(len(gain), dtype=np.bool_)
    best = -np.inf
    at = (np.nan, np.nan)
    for index in order:
        if gain[index] > best or (gain[index], price[index]) == at:
            front[index], best, at = True, gain[index], (gain[index], price[index])
    return front
