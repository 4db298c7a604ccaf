"""The embedded engine: Sparseloop's analysis of a rendered spec, in process and vectorised.

Public: :func:`evaluate` (one spec, all figures), :func:`evaluate_specs` (many specs, those alike
together) and :func:`evaluate_mappings` (cycles and energy of many loop factors of one spec).
``docs/engine.md`` holds the model's equations.
"""

from crisp_loop.sparseloop.legality import IllegalMappingError
from crisp_loop.sparseloop.model import BatchResult, evaluate, evaluate_mappings, evaluate_specs

__all__ = ["BatchResult", "IllegalMappingError", "evaluate", "evaluate_mappings", "evaluate_specs"]
