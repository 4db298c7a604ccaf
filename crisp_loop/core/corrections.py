"""What Sparseloop cannot express, added to the cycles that it counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def corrected_cycles(
    cycles: npt.ArrayLike, compute_cycles: npt.ArrayLike, correction: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Cycles with the arithmetic slowed down by ``correction``, int64 of the arguments' shape.

    Every level's cycles already include waiting for the arithmetic, so the slowest of the
    memories and the slower arithmetic sets the pace.

    Args:
        cycles: Of the whole design.
        compute_cycles: Of the arithmetic alone.
        correction: Factor on the latter, such as DSTC's lane quantisation.
    """
    # The tolerance keeps 100 * 1.1 = 110.00000000000001 at 110.
    arithmetic = np.ceil(np.asarray(compute_cycles) * np.asarray(correction) * (1 - 1e-12))
    return np.maximum(arithmetic, cycles).astype(np.int64)
