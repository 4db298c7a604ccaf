"""The data sets that an experiment can name."""

from __future__ import annotations

from collections.abc import Callable

from crisp_loop.core.errors import InputError
from crisp_loop.datasets.digits import digits
from crisp_loop.datasets.split import Dataset

DATASETS: dict[str, Callable[[int], Dataset]] = {"digits": digits}
"""Name to a function of the split's seed."""


def load(name: str, seed: int = 0) -> Dataset:
    """The data set ``name``, split with ``seed``.

    Raises:
        InputError: there is none; the message names the known ones.
    """
    if name not in DATASETS:
        raise InputError("dataset", "", name, f"the known ones are {', '.join(DATASETS)}")
    return DATASETS[name](seed)
