"""The sections of a spec as data classes."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from crisp_loop.core.gathers import Gather
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.architecture import Architecture, parse_architecture
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.gathers import parse_gathers
from crisp_loop.sparseloop.nest import Nest, parse_factors, parse_nest
from crisp_loop.sparseloop.optimizations import SparseOptimizations, parse_optimizations
from crisp_loop.sparseloop.problem import Problem, Shape, parse_instance, parse_shape


@dataclass(frozen=True)
class Design:
    """A parsed spec."""

    source: str
    architecture: Architecture
    problem: Problem
    optimizations: SparseOptimizations
    nest: Nest
    given: tuple[int, ...]
    """The factor of each loop of the nest."""
    gathers: Mapping[int, Gather] = field(default_factory=dict)
    """Tensors whose tiles hold what block-rows share once."""


def parse(spec: Spec) -> Design:
    """The sections of a spec as data classes; anything unknown is refused by its path.

    What layers of one network on one design share is parsed once and remembered by its contents:
    all but the problem's numbers and the mapping's factors.
    """

    def part(path: str, value: Any) -> Remembered:
        return Remembered.of(Field(spec.source, path, value), value)

    def section(name: str) -> Remembered:
        return part(name, spec.sections[name])

    architecture = _architecture(section("architecture"), section("ERT"))
    whole = Field(spec.source, "problem", spec.sections["problem"])
    fields = whole.entries({"version", "shape", "instance"})
    shape = _shape(part("problem.shape", whole.required(fields, "shape").value))
    problem = parse_instance(whole.required(fields, "instance"), shape)
    optimizations = _DENSE
    if "sparse_optimizations" in spec.sections:
        optimizations = _optimizations(section("sparse_optimizations"), architecture, shape)
    mapping = Field(spec.source, "mapping", spec.sections["mapping"])
    skeleton = Remembered.of(mapping, _without_factors(mapping.value))
    nest = _nest(skeleton, architecture, shape)
    return Design(
        spec.source,
        architecture,
        problem,
        optimizations,
        nest,
        parse_factors(mapping, nest),
        parse_gathers(spec, problem, optimizations),
    )


def structure(design: Design) -> object:
    """A key that designs share which differ in nothing but bounds and loop factors."""
    if design.gathers:  # what a tile shares depends on the bounds
        return object()
    return design.architecture, design.optimizations, design.nest, design.problem.densities


def _without_factors(mapping: Any) -> Any:
    """The mapping section but for the text of its factors."""
    if not isinstance(mapping, list):
        return mapping
    return [
        directive | {"factors": ""}
        if isinstance(directive, dict) and "factors" in directive
        else directive
        for directive in mapping
    ]


@dataclass(frozen=True)
class Remembered:
    """A part of a spec that is equal to another one when what matters of its data is."""

    contents: object
    """Something hashable that stands for the data."""
    field: Field = field(compare=False)

    @classmethod
    def of(cls, part: Field, matters: Any) -> Remembered:
        """``part``, to be looked up by the contents of ``matters``."""
        try:
            # Version 2 writes equal data alike, whatever else refers to it.
            return cls(marshal.dumps(matters, 2), part)
        except ValueError:  # YAML that holds more than plain data is unlike all others
            return cls(object(), part)


_DENSE = SparseOptimizations()


@lru_cache(maxsize=64)
def _architecture(architecture: Remembered, ert: Remembered) -> Architecture:
    return parse_architecture(architecture.field, ert.field)


@lru_cache(maxsize=64)
def _shape(shape: Remembered) -> Shape:
    return parse_shape(shape.field)


@lru_cache(maxsize=256)
def _optimizations(
    section: Remembered, architecture: Architecture, shape: Shape
) -> SparseOptimizations:
    return parse_optimizations(section.field, architecture, shape)


@lru_cache(maxsize=256)
def _nest(mapping: Remembered, architecture: Architecture, shape: Shape) -> Nest:
    return parse_nest(mapping.field, architecture, shape)
