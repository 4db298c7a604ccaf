"""Sparsity patterns: N:M, and CRISP's hybrid of N:M inside uniformly pruned blocks."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

SUPPORTED_NM = ("1:4", "2:4", "3:4")
SUPPORTED_BLOCKS = (16, 32, 64)
_EXPECTED = f"expected N:M with 1 <= N <= M, such as {', '.join(SUPPORTED_NM)}"
LARGEST_M = 9999
"""Patterns are written with four digits at most."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NM:
    """Keep ``n`` of every ``m`` consecutive weights along the input channels."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= LARGEST_M:
            raise ValueError(_EXPECTED)

    @property
    def density(self) -> Fraction:
        """N/M, the share of weights kept."""
        return Fraction(self.n, self.m)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @classmethod
    def parse(cls, text: object) -> NM:
        """``"2:4"`` as a pattern; ValueError names the patterns that would be right."""
        if isinstance(text, NM):
            return text
        match = re.fullmatch(r"\s*(\d{1,4})\s*:\s*(\d{1,4})\s*", str(text))
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(_EXPECTED)
        return cls(int(match[1]), int(match[2]))


def blocks_over(side: int, block: int) -> int:
    """Blocks of ``block`` that cover ``side``, the last one possibly in part: ceil(side / B)."""
    return -(-side // block)


def blocks_to_keep(blocks: int, nm: NM, sparsity: float) -> int:
    """K'/B for a layer of ``blocks`` = K/B: the nearest to (1 - kappa) * M/N, at least one."""
    exact = blocks * (1 - as_fraction(sparsity)) / nm.density
    return max(1, min(blocks, round(exact)))


def _parse_or_pass(value: Any) -> Any:
    return NM.parse(value) if isinstance(value, str) else value


NMField = Annotated[NM, BeforeValidator(_parse_or_pass)]
"""An :class:`NM` field that also reads ``"2:4"``."""


def as_fraction(value: float) -> Fraction:
    """``value`` as its shortest decimal says: 0.29 is 29/100, and int(0.29 * 100) is 28."""
    return Fraction(repr(float(value)))
