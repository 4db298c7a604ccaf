"""How figures are written for people; files for programs hold them in full."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,.0f}"


def energy(microjoules: float) -> str:
    """An energy: one decimal, or three digits of what is small."""
    return f"{microjoules:,.1f}" if microjoules >= 10 else f"{microjoules:#.3g}"


def times(ratio: float) -> str:
    """A ratio, such as a speed-up."""
    return "-" if math.isnan(ratio) else f"{ratio:.2f}x"


def share(value: float) -> str:
    """A share of one, in percent."""
    return f"{value:.1%}"


def short(value: float) -> str:
    """Any number in three digits."""
    return f"{value:.3g}"
