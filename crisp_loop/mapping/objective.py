"""What the mapper minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crisp_loop.core.errors import CrispLoopError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Costs:
    """What mappings cost, or cost at least; (mappings,) each."""

    cycles: FloatArray
    energy_pJ: FloatArray

    def of(self, chosen: npt.NDArray[np.int64]) -> Costs:
        """The costs of the mappings ``chosen`` by number."""
        return Costs(self.cycles[chosen], self.energy_pJ[chosen])


Metric = Callable[[Costs], FloatArray]
"""What is minimised. It grows with cycles and with energy, so that lower bounds on the two give a
lower bound on it."""


def cycles_of(costs: Costs) -> FloatArray:
    """Cycles."""
    return costs.cycles


def energy_of(costs: Costs) -> FloatArray:
    """Energy, pJ."""
    return costs.energy_pJ


def edp_of(costs: Costs) -> FloatArray:
    """Energy-delay product, pJ x cycles."""
    return costs.cycles * costs.energy_pJ


@dataclass(frozen=True)
class Objective:
    """Least ``first``; among the mappings within ``tolerance`` of it, least ``second``."""

    name: str
    first: Metric
    second: Metric
    tolerance: float = 0.0


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("cycles-energy", cycles_of, energy_of, 0.01),
        Objective("cycles", cycles_of, energy_of),
        Objective("energy", energy_of, cycles_of),
        Objective("edp", edp_of, cycles_of),
    )
}
"""By name. ``cycles-energy`` is lexicographic: fewest cycles, within 1 % of them least energy."""
DEFAULT_OBJECTIVE = "cycles-energy"


def objective_called(name: str) -> Objective:
    """The objective of that name.

    Raises:
        CrispLoopError: an unknown name; the known ones are listed.
    """
    if name not in OBJECTIVES:
        raise CrispLoopError(
            f"objective: {name!r} is unknown; expected one of {', '.join(OBJECTIVES)}."
        )
    return OBJECTIVES[name]
