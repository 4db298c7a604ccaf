"""The designs: ``arch/*.yaml`` as data classes, and how each runs a given GEMM."""

from crisp_loop.accelerators.load import (
    available,
    load_accelerator,
    load_accelerators,
    with_changes,
)
from crisp_loop.accelerators.problem import Problem, problem_for
from crisp_loop.accelerators.schema import Accelerator

__all__ = [
    "Accelerator",
    "Problem",
    "available",
    "load_accelerator",
    "load_accelerators",
    "problem_for",
    "with_changes",
]
