"""Which mappings of a batch are legal, and one sentence for each that is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.arrays import Bools


class IllegalMappingError(CrispLoopError):
    """A mapping that the hardware cannot run: capacity, fanout, ranks or factors."""


class Legality:
    """The mappings of a batch, each with the first reason that rules it out."""

    def __init__(self, size: int) -> None:
        self.legal: Bools = np.ones(size, dtype=np.bool_)
        self._reasons: list[tuple[Bools, Callable[[int], str]]] = []

    def refuse(self, where: Bools, reason: Callable[[int], str]) -> None:
        """Rule out the mappings in ``where``; ``reason(index)`` is asked only if someone asks."""
        fresh = where & self.legal
        if fresh.any():
            self.legal = self.legal & ~fresh
            self._reasons.append((fresh, reason))

    def reason(self, index: int) -> str:
        """Why mapping ``index`` is illegal; empty when it is legal."""
        for where, reason in self._reasons:
            if where[index]:
                return reason(index)
        return ""
