"""Accuracy against cost: which patterns, block sizes and sparsities are worth having."""

from crisp_loop.pareto.front import on_front
from crisp_loop.pareto.request import ParetoRequest, pareto_request
from crisp_loop.pareto.run import Pareto, find_pareto

__all__ = ["Pareto", "ParetoRequest", "find_pareto", "on_front", "pareto_request"]
