"""The problem section: dimensions, tensors and their densities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crisp_loop.sparseloop.density import Density, FixedStructured, Hypergeometric
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.hypergeometric import LARGEST

_DENSE = FixedStructured(1.0)


@dataclass(frozen=True)
class Tensor:
    """One data space: A, B or Z."""

    name: str
    dims: frozenset[str]
    """The dimensions it projects to; all others reuse it."""
    output: bool
    """Read, modified and written (Z)."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A GEMM without its numbers: its dimensions, and its tensors in the order of the spec."""

    dims: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    def index(self, name: str) -> int | None:
        """The tensor called ``name``."""
        for index, tensor in enumerate(self.tensors):
            if tensor.name == name:
                return index
        return None


@dataclass(frozen=True, eq=False)
class Problem(Shape):
    """A GEMM: its bounds, and the density of each tensor."""

    bounds: Mapping[str, int]
    densities: tuple[Density, ...]


def parse_shape(shape: Field) -> Shape:
    """The problem's shape; projections must be single dimensions, as a GEMM's are."""
    fields = shape.entries({"name", "dimensions", "data_spaces"})
    dims = tuple(shape.required(fields, "dimensions").names())
    if len(dims) < 2:
        raise fields["dimensions"].error("expected two dimensions at least")
    for dim in dims:
        if len(dim) != 1 or not dim.isalpha() or dims.count(dim) > 1:
            raise fields["dimensions"].error("expected different single letters")
    spaces = shape.required(fields, "data_spaces").items()
    names = [space.required(space.entries(), "name").text() for space in spaces]
    tensors = []
    for space in spaces:
        parts = space.entries({"name", "projection", "read_write"})
        name = parts["name"].text()
        if names.count(name) > 1:
            raise parts["name"].error("data space names must differ")
        projected = _projection(space.required(parts, "projection"), dims)
        output = "read_write" in parts and parts["read_write"].value is True
        tensors.append(Tensor(name, projected, output))
    if [tensor.output for tensor in tensors].count(True) != 1 or len(tensors) != 3:
        raise fields["data_spaces"].unsupported("expected two inputs and one read_write output")
    return Shape(dims, tuple(tensors))


def parse_instance(instance: Field, shape: Shape) -> Problem:
    """The numbers of a problem of some shape."""
    dims, tensors = shape.dims, shape.tensors
    fields = instance.entries({*dims, "densities"})
    bounds = {dim: instance.required(fields, dim).whole(1) for dim in dims}
    given: dict[str, Field] = {}
    if "densities" in fields:
        given = fields["densities"].entries([tensor.name for tensor in tensors])
    densities = tuple(
        _density(given[tensor.name], math.prod(bounds[dim] for dim in tensor.dims))
        if tensor.name in given
        else _DENSE
        for tensor in tensors
    )
    return Problem(dims, tensors, bounds, densities)


def _projection(field: Field, dims: tuple[str, ...]) -> frozenset[str]:
    projected: list[str] = []
    for axis in field.items():
        terms = axis.items()
        if len(terms) != 1 or not isinstance(terms[0].value, list) or len(terms[0].value) != 1:
            raise axis.unsupported("expected one dimension an axis; lower convolutions to GEMMs")
        dim = terms[0].items()[0].text()
        if dim not in dims:
            raise terms[0].error(f"expected one of the dimensions {', '.join(dims)}")
        if dim in projected:
            raise terms[0].unsupported("a dimension may project to one axis of a data space")
        projected.append(dim)
    return frozenset(projected)


def _density(field: Field, size: int) -> Density:
    if not isinstance(field.value, dict):
        distribution, density = "fixed_structured", field
    else:
        fields = field.entries({"distribution", "density"})
        distribution = field.required(fields, "distribution").text()
        density = field.required(fields, "density")
    value = density.number()
    if not 0 < value <= 1:
        raise density.error("expected a density above 0, at most 1")
    if distribution in ("fixed", "fixed_structured"):
        return FixedStructured(value)
    if distribution == "hypergeometric":
        if size > LARGEST:
            raise field.unsupported(
                f"timeloop-model's probabilities are exact up to {LARGEST} elements, and this"
                f" tensor has {size}"
            )
        return Hypergeometric(value, size)
    raise field.unsupported("the distributions it knows are fixed_structured and hypergeometric")
