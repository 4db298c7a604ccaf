"""Which mappings of a batch are legal, and one sentence for each that is not."""

from __future__ import annotations

from typing import Any

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.columns import Flags, anywhere, entry, negated


class IllegalMappingError(CrispLoopError):
    """A mapping that the hardware cannot run: capacity, fanout, ranks or factors."""


class Legality:
    """The mappings of a batch, each with the first reason that rules it out."""

    def __init__(self, source: str) -> None:
        self.legal: Flags = True
        self._source = source
        self._reasons: list[tuple[Flags, str, tuple[Any, ...]]] = []

    def refuse(self, where: Flags, sentence: str, *values: Any) -> None:
        """Rule out the mappings in ``where``.

        ``sentence`` has a ``{}`` for each of ``values``, which may be columns; it is put together
        only if someone asks.

        Raises:
            IllegalMappingError: all of them are ruled out, so that nothing is left to analyse.
        """
        if where is False:
            return
        fresh = where & self.legal
        if anywhere(fresh):
            self.legal = self.legal & negated(fresh)
            self._reasons.append((fresh, sentence, values))
            if not anywhere(self.legal):
                raise IllegalMappingError(self.reason(0))

    def reason(self, index: int) -> str:
        """Why mapping ``index`` is illegal; empty when it is legal."""
        for where, sentence, values in self._reasons:
            if entry(where, index):
                return f"{self._source}: {sentence.format(*(entry(v, index) for v in values))}."
        return ""
