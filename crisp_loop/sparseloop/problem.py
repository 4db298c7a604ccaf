"""The problem section: dimensions, tensors and their densities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crisp_loop.sparseloop.density import Density, FixedStructured, Hypergeometric
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.hypergeometric import LARGEST


@dataclass(frozen=True)
class Tensor:
    """One data space: A, B or Z."""

    name: str
    dims: frozenset[str]
    """The dimensions it projects to; all others reuse it."""
    output: bool
    """Read, modified and written (Z)."""
    density: Density


@dataclass(frozen=True)
class Problem:
    """A GEMM: its bounds and its tensors in the order of the spec."""

    dims: tuple[str, ...]
    bounds: Mapping[str, int]
    tensors: tuple[Tensor, ...]

    def index(self, name: str) -> int | None:
        """The tensor called ``name``."""
        for index, tensor in enumerate(self.tensors):
            if tensor.name == name:
                return index
        return None


def parse_problem(problem: Field) -> Problem:
    """The problem section; projections must be single dimensions, as a GEMM's are."""
    top = problem.entries({"version", "shape", "instance"})
    shape = problem.required(top, "shape").entries({"name", "dimensions", "data_spaces"})
    dims = tuple(problem.required(shape, "dimensions").names())
    if len(dims) < 2:
        raise shape["dimensions"].error("expected two dimensions at least")
    for dim in dims:
        if len(dim) != 1 or not dim.isalpha() or dims.count(dim) > 1:
            raise shape["dimensions"].error("expected different single letters")
    instance = problem.required(top, "instance").entries({*dims, "densities"})
    bounds = {dim: problem.required(instance, dim).whole(1) for dim in dims}
    spaces = problem.required(shape, "data_spaces").items()
    names = [space.required(space.entries(), "name").text() for space in spaces]
    densities: dict[str, Field] = {}
    if "densities" in instance:
        densities = instance["densities"].entries(names)
    tensors = []
    for space in spaces:
        fields = space.entries({"name", "projection", "read_write"})
        name = fields["name"].text()
        if names.count(name) > 1:
            raise fields["name"].error("data space names must differ")
        projected = _projection(space.required(fields, "projection"), dims)
        output = "read_write" in fields and fields["read_write"].value is True
        size = 1
        for dim in projected:
            size *= bounds[dim]
        density = _density(densities[name], size) if name in densities else FixedStructured(1.0)
        tensors.append(Tensor(name, projected, output, density))
    if [tensor.output for tensor in tensors].count(True) != 1 or len(tensors) != 3:
        raise shape["data_spaces"].unsupported("expected two inputs and one read_write output")
    return Problem(dims, bounds, tuple(tensors))


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
