"""Axes: values to places, and the ticks that a reader expects."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LogScale:
    """Logarithmic, from ``low`` at the place ``start`` to ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of a value above zero."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Powers of two, every one, second or fourth: at most eight."""
        first, last = math.ceil(math.log2(self.low)), math.floor(math.log2(self.high))
        step = next(step for step in (1, 2, 4, 8, 16, 32, 64) if (last - first) / step <= 7)
        return [2.0**power for power in range(first, last + 1) if power % step == 0]


def powers_of_two_around(values: list[float]) -> tuple[float, float]:
    """The powers of two just below and above all ``values``, with some room."""
    low, high = math.log2(min(values) / 1.15), math.log2(max(values) * 1.15)
    return 2.0 ** math.floor(low), 2.0 ** math.ceil(high)


def round_ticks(highest: float, most: int = 4) -> list[float]:
    """Zero and up to ``most`` round steps, the last of them at ``highest`` or above it."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / most))
    step = next(power * each for each in (1, 2, 2.5, 5, 10, 20) if power * each * most >= highest)
    return [step * index for index in range(math.ceil(highest / step - 1e-9) + 1)]
