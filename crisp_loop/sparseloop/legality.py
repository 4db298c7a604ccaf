"""Which mappings of a batch are legal, and one sentence for each that is not."""

from __future__ import annotations

from collections.abc import Callable

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.columns import Flags, anywhere, entry, negated


class IllegalMappingError(CrispLoopError):
    """A mapping that the hardware cannot run: capacity, fanout, ranks or factors."""


class Legality:
    """The mappings of a batch, each with the first reason that rules it out."""

    def __init__(self) -> None:
        self.legal: Flags = True
        self._reasons: list[tuple[Flags, Callable[[int], str]]] = []

    def refuse(self, where: Flags, reason: Callable[[int], str]) -> None:
        """Rule out the mappings in ``where``; ``reason(index)`` is asked only if someone asks.

        Raises:
            IllegalMappingError: all of them are ruled out, so that nothing is left to analyse.
        """
        if where is False:
            return
        fresh = where & self.legal
        if anywhere(fresh):
            self.legal = self.legal & negated(fresh)
            self._reasons.append((fresh, reason))
            if not anywhere(self.legal):
                raise IllegalMappingError(self.reason(0))

    def reason(self, index: int) -> str:
        """Why mapping ``index`` is illegal; empty when it is legal."""
        for where, reason in self._reasons:
            if entry(where, index):
                return reason(index)
        return ""
