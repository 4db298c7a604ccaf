"""Loop nests: a mapping as the mapper chooses it and the templates render it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

DIMENSIONS: tuple[str, ...] = ("R", "M", "N", "Q", "K")
"""Problem dimensions: block-row or group, row, column, kept block, reduction."""

Kind = Literal["temporal", "spatial"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Loops:
    """The loops of one kind at one storage level."""

    level: str
    kind: Kind
    factors: dict[str, int]
    """Loop bound a dimension, all of :data:`DIMENSIONS`; 1 is a trivial loop."""
    order: str
    """The dimensions, innermost first."""

    def innermost_first(self) -> list[tuple[str, int]]:
        """The non-trivial (dimension, bound) pairs."""
        return [(dim, self.factors[dim]) for dim in self.order if self.factors[dim] > 1]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LoopNest:
    """All loops of a mapping, outermost first."""

    loops: tuple[Loops, ...]

    def bound(self, dimension: str) -> int:
        """Product of all factors of ``dimension``."""
        product = 1
        for loops in self.loops:
            product *= loops.factors[dimension]
        return product

    def compact(self) -> list[str]:
        """One line a directive, such as ``DRAM temporal R4 N8 order NRKMQ``."""
        lines = []
        for loops in self.loops:
            factors = " ".join(f"{d}{f}" for d, f in loops.factors.items() if f > 1) or "-"
            lines.append(f"{loops.level} {loops.kind} {factors} order {loops.order}")
        return lines

    @classmethod
    def parse(cls, lines: list[str]) -> LoopNest:
        """The nest that :meth:`compact` wrote; ValueError names the line it cannot read."""
        nest = []
        for line in lines:
            words = line.split()
            if len(words) < 5 or words[1] not in ("temporal", "spatial") or words[-2] != "order":
                raise ValueError(
                    f"{line!r} is no loops line; expected LEVEL temporal|spatial D1 D2 order DIMS"
                )
            factors: dict[str, int] = dict.fromkeys(DIMENSIONS, 1)
            for word in words[2:-2]:
                if word == "-":
                    continue
                match = re.fullmatch(r"([A-Z])([1-9][0-9]{0,17})", word)
                if not match or match[1] not in factors:
                    raise ValueError(f"{line!r}: factor {word!r} is no dimension and bound")
                factors[match[1]] = int(match[2])
            if sorted(words[-1]) != sorted(DIMENSIONS):
                raise ValueError(f"{line!r}: order must hold each of {''.join(DIMENSIONS)} once")
            kind: Kind = "temporal" if words[1] == "temporal" else "spatial"
            nest.append(Loops(level=words[0], kind=kind, factors=factors, order=words[-1]))
        return cls(tuple(nest))
