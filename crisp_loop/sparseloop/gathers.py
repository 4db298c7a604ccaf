"""Gathers beside a spec: checked against the problem that they belong to."""

from __future__ import annotations

from crisp_loop.core.errors import InputError, UnsupportedError
from crisp_loop.core.gathers import Gather
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.optimizations import SparseOptimizations
from crisp_loop.sparseloop.problem import Problem


def parse_gathers(
    spec: Spec, problem: Problem, optimizations: SparseOptimizations
) -> dict[int, Gather]:
    """The gathers of ``spec`` by tensor.

    Raises:
        InputError: one that does not fit the problem.
        UnsupportedError: one of an output, or of a tensor that is compressed somewhere: how many
            non-zeros a union of tiles holds is not modelled.
    """
    found: dict[int, Gather] = {}
    for gather in spec.gathers:
        where = f"gather of {gather.tensor}"
        index = problem.index(gather.tensor)
        if index is None:
            names = ", ".join(tensor.name for tensor in problem.tensors)
            raise InputError(spec.source, where, gather.tensor, f"the tensors are {names}")
        tensor = problem.tensors[index]
        missing = {gather.rows, gather.places} - tensor.dims
        if missing:
            raise InputError(
                spec.source, where, sorted(missing)[0], f"expected dimensions of {gather.tensor}"
            )
        expected = problem.bounds[gather.rows], problem.bounds[gather.places]
        if gather.indices.shape != expected:
            raise InputError(
                spec.source, where, gather.indices.shape,
                f"expected {expected}, the bounds of {gather.rows} and {gather.places}",
            )  # fmt: skip
        compressed = any(tensor == index for _, tensor in optimizations.formats)
        if tensor.output or compressed:
            kind = "an output" if tensor.output else "a compressed tensor"
            raise UnsupportedError(f"{spec.source}: {where} is of {kind}; expected a dense input.")
        found[index] = gather
    return found
