"""The mappers that can be asked for a mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from crisp_loop import __version__
from crisp_loop.accelerators import Accelerator, Problem
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.mappings import Mapped, Provenance
from crisp_loop.mapping.objective import Objective
from crisp_loop.mapping.search import best_mapping
from crisp_loop.mapping.timeloop import timeloop_mapping
from crisp_loop.render import spec_of
from crisp_loop.render.mapspace import MapperOptions, Metric
from crisp_loop.sparseloop import evaluate
from crisp_loop.tools.programs import MAPPER, find_program, fingerprint

DEFAULT_MAPPER = "analytic"
DEFAULT_SECONDS = 30.0
"""Of timeloop-mapper, a GEMM and design."""


class Mapper(Protocol):
    """Something that finds a mapping."""

    @property
    def tool(self) -> str:
        """What mappings say they were found by; with the objective it tells which fit a request."""
        ...

    def map(self, accelerator: Accelerator, problem: Problem, layer: str) -> Mapped:
        """A mapping of one GEMM.

        Raises:
            CrispLoopError: none is legal, or the tool cannot be run.
        """
        ...


@dataclass(frozen=True)
class BranchAndBound:
    """The exact search of :mod:`crisp_loop.mapping.search`."""

    objective: Objective

    tool = "crisp_loop"

    def map(self, accelerator: Accelerator, problem: Problem, layer: str) -> Mapped:
        """The optimum of the mapspace."""
        best = best_mapping(accelerator, problem, layer, self.objective)
        found = Provenance(
            tool=self.tool,
            version=__version__,
            objective=self.objective.name,
            cycles=best.cycles,
            energy_uJ=_nanojoules(best.energy_pJ * 1e-6),
            mapspace=best.candidates,
            priced=best.evaluated,
        )
        return Mapped(loops=tuple(best.nest.compact()), found=found)


@dataclass(frozen=True)
class TimeloopMapper:
    """The native timeloop-mapper, for a given time."""

    objective: Objective
    seconds: float = DEFAULT_SECONDS

    tool = MAPPER

    def map(self, accelerator: Accelerator, problem: Problem, layer: str) -> Mapped:
        """The best mapping that the tool found in its time, priced by the analytic engine."""
        options = MapperOptions(metrics=_METRICS[self.objective.name])
        nest = timeloop_mapping(accelerator, problem, layer, self.seconds, options)
        said = evaluate(spec_of(accelerator, problem, nest))
        cycles = corrected_cycles(said.cycles, said.compute.cycles, problem.cycle_correction)
        found = Provenance(
            tool=self.tool,
            version=fingerprint(find_program(MAPPER)),
            objective=self.objective.name,
            cycles=int(cycles),
            energy_uJ=_nanojoules(said.energy_uJ),
            seconds=self.seconds,
        )
        return Mapped(loops=tuple(nest.compact()), found=found)


MAPPERS: dict[str, Callable[[Objective, float], Mapper]] = {
    "analytic": lambda objective, seconds: BranchAndBound(objective),
    "timeloop": TimeloopMapper,
}
"""Name to maker; its arguments are the objective, and the seconds a GEMM of one that never ends."""

_METRICS: dict[str, tuple[Metric, ...]] = {
    "cycles-energy": ("delay", "energy"),
    "cycles": ("delay",),
    "energy": ("energy", "delay"),
    "edp": ("edp",),
}
"""Objectives in timeloop-mapper's words; it ties within 0.1 %."""


def mapper_called(name: str, objective: Objective, seconds: float = DEFAULT_SECONDS) -> Mapper:
    """The mapper of that name.

    Raises:
        CrispLoopError: an unknown name; the known ones are listed.
    """
    if name not in MAPPERS:
        raise CrispLoopError(f"mapper: {name!r} is unknown; expected one of {', '.join(MAPPERS)}.")
    return MAPPERS[name](objective, seconds)


def _nanojoules(microjoules: float) -> float:
    """Energy as it is written down: nine digits, so that files do not end in rounding noise."""
    return float(f"{microjoules:.9g}")
