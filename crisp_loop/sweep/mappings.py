"""Mappings for a sweep's problems: those that ship, those found before, or a search."""

from __future__ import annotations

from pydantic import ValidationError

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.files import sha256
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.mappings import Mapped
from crisp_loop.cost.store import user_store
from crisp_loop.mapping.library import fingerprint, shipped_mappings
from crisp_loop.mapping.mappers import BranchAndBound, mapper_called
from crisp_loop.mapping.objective import objective_called
from crisp_loop.mapping.run import MapRequest, as_requested


class Mappings:
    """The mappings of one design, found as requested.

    What is found is kept in the user's store by content, with a checksum: a search that is done
    is never done again, whatever becomes of the sweep that needed it.
    """

    def __init__(self, design: Accelerator, request: MapRequest) -> None:
        self.design = design
        self.request = request
        self.mapper = mapper_called(
            request.mapper, objective_called(request.objective), request.seconds
        )
        shipped = shipped_mappings(design)
        self._shipped = shipped.mappings if shipped else {}
        self._told = [fingerprint(design), self.mapper.tool, request.objective]
        if self.mapper.tool != BranchAndBound.tool:
            self._told.append(f"{request.seconds:g} s")

    def nest(self, problem: Problem, layer: str) -> LoopNest:
        """The mapping of one problem.

        Raises:
            CrispLoopError: no mapping fits the design, or the mapper cannot be run.
        """
        known = self._shipped.get(problem.key)
        if known and as_requested(known, self.mapper.tool, self.request.objective):
            return known.nest
        key = "\0".join((*self._told, problem.key))
        store, version = user_store(), f"mapping crisp_loop {__version__}"
        if kept := _read(store.recall(version, key)):
            return kept.nest
        mapped = self.mapper.map(self.design, problem, layer)
        store.keep(version, key, _written(mapped))
        return mapped.nest


def _written(mapped: Mapped) -> str:
    data = mapped.model_dump_json()
    return f"{sha256(data)}\n{data}\n"


def _read(text: str | None) -> Mapped | None:
    """What :func:`_written` wrote; None for a file that was damaged."""
    checksum, _, data = (text or "").partition("\n")
    if sha256(data.rstrip("\n")) != checksum:
        return None
    try:
        return Mapped.model_validate_json(data)
    except ValidationError:
        return None
