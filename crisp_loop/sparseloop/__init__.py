"""The embedded engine: Sparseloop's analysis of a rendered spec, in process and vectorised.

Public: :func:`evaluate` (one spec, all figures) and :func:`evaluate_mappings` (cycles and
energy of many loop factors of one spec). ``docs/engine.md`` holds the model's equations.
"""

from crisp_loop.sparseloop.legality import IllegalMappingError
from crisp_loop.sparseloop.model import BatchResult, evaluate, evaluate_mappings

__all__ = ["BatchResult", "IllegalMappingError", "evaluate", "evaluate_mappings"]
