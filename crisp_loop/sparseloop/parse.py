"""The sections of a spec as data classes."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, field
from functools import lru_cache

from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.architecture import Architecture, parse_architecture
from crisp_loop.sparseloop.dense import Design
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.gathers import parse_gathers
from crisp_loop.sparseloop.nest import Nest, parse_nest
from crisp_loop.sparseloop.optimizations import SparseOptimizations, parse_optimizations
from crisp_loop.sparseloop.problem import Problem, parse_problem


def parse(spec: Spec) -> Design:
    """The sections of a spec as data classes; anything unknown is refused by its path.

    Sections are remembered by their contents: specs of one design share most of them.
    """

    def section(name: str) -> Section:
        return Section.of(Field(spec.source, name, spec.sections[name]))

    hardware = section("architecture"), section("ERT")
    problem, mapping = section("problem"), section("mapping")
    sparse = section("sparse_optimizations") if "sparse_optimizations" in spec.sections else None
    optimizations = _optimizations(sparse, *hardware, problem)
    return Design(
        spec.source,
        _architecture(*hardware),
        _problem(problem),
        optimizations,
        _nest(mapping, *hardware, problem),
        parse_gathers(spec, _problem(problem), optimizations),
    )


def structure(spec: Spec, design: Design) -> object:
    """A key that specs share which differ in nothing but bounds and loop factors."""
    if design.gathers:  # what a tile shares depends on the bounds
        return object()
    formats = spec.sections.get("sparse_optimizations")
    return (
        id(design.architecture),
        Section.of(Field(spec.source, "sparse_optimizations", formats)),
        (design.nest.loops, design.nest.keeps),
        (design.problem.dims, design.problem.tensors),
    )


@dataclass(frozen=True)
class Section:
    """A section that is equal to another one when its data is."""

    contents: object
    """Something hashable that stands for the data."""
    field: Field = field(compare=False)

    @classmethod
    def of(cls, section: Field) -> Section:
        """``section``, to be looked up by its contents."""
        try:
            # Version 2 writes equal data alike, whatever else refers to it.
            return cls(marshal.dumps(section.value, 2), section)
        except ValueError:  # YAML that holds more than plain data is unlike all others
            return cls(object(), section)


@lru_cache(maxsize=64)
def _architecture(architecture: Section, ert: Section) -> Architecture:
    return parse_architecture(architecture.field, ert.field)


@lru_cache(maxsize=256)
def _problem(problem: Section) -> Problem:
    return parse_problem(problem.field)


@lru_cache(maxsize=256)
def _optimizations(
    section: Section | None, architecture: Section, ert: Section, problem: Section
) -> SparseOptimizations:
    return parse_optimizations(
        section.field if section else None, _architecture(architecture, ert), _problem(problem)
    )


@lru_cache(maxsize=256)
def _nest(mapping: Section, architecture: Section, ert: Section, problem: Section) -> Nest:
    return parse_nest(mapping.field, _architecture(architecture, ert), _problem(problem))
