"""The designs: ``arch/*.yaml`` as data classes, and how each runs a given GEMM."""

from crisp_loop.accelerators.load import (
    DesignFile,
    available,
    load_accelerator,
    load_accelerators,
    read_design,
)
from crisp_loop.accelerators.problem import Problem, check_nest, problem_for
from crisp_loop.accelerators.schema import Accelerator

__all__ = [
    "Accelerator",
    "DesignFile",
    "Problem",
    "available",
    "check_nest",
    "load_accelerator",
    "load_accelerators",
    "problem_for",
    "read_design",
]
