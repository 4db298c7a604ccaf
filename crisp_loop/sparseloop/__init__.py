"""The embedded engine: Sparseloop's analysis of a rendered spec, in process and vectorised.

Public: :func:`evaluate` (one spec, all figures), :func:`evaluate_specs` (many specs, those alike
together), :func:`evaluate_mappings` (cycles and energy of many loop factors of one spec) and
:func:`demands_of` (many specs under many bandwidths).
``docs/engine.md`` holds the model's equations.
"""

from crisp_loop.sparseloop.demand import Demands, demands_of
from crisp_loop.sparseloop.legality import IllegalMappingError
from crisp_loop.sparseloop.model import BatchResult, evaluate, evaluate_mappings, evaluate_specs

__all__ = [
    "BatchResult",
    "Demands",
    "IllegalMappingError",
    "demands_of",
    "evaluate",
    "evaluate_mappings",
    "evaluate_specs",
]
