"""The mapping section: one list of loops, innermost first, and what each level keeps.

Everything is static but the factors, which come as arrays with a leading batch axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.architecture import Architecture
from crisp_loop.sparseloop.arrays import Ints, columns
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.problem import Problem

Slot = tuple[str, str]
"""(target, "temporal" | "spatial") of a directive."""


@dataclass(frozen=True)
class Loop:
    """One loop of the complete nest; trivial ones (factor 1) are in it too."""

    level: int
    dim: str
    axis: str
    """``T`` for time, ``X`` or ``Y`` for space."""

    @property
    def spatial(self) -> bool:
        """Whether the iterations run side by side."""
        return self.axis != "T"


@dataclass(frozen=True)
class Nest:
    """A loop nest. Within a level the spatial loops lie inside the temporal ones."""

    loops: tuple[Loop, ...]
    given: tuple[int, ...]
    """The factor of each loop in the spec."""
    keeps: tuple[tuple[bool, ...], ...]
    """[level][tensor]: stored there, or bypassed."""
    slots: Mapping[Slot, Mapping[str, int]] = field(default_factory=dict)
    """Directive to dimension to position in ``loops``."""

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """One past the last loop of each level."""
        last = {loop.level: index + 1 for index, loop in enumerate(self.loops)}
        return tuple(last[level] for level in sorted(last))

    def within(self, first: int, last: int) -> range:
        """Positions of the loops of levels ``first`` to ``last``."""
        return range(self.ends[first - 1] if first else 0, self.ends[last])

    def holder(self, level: int, tensor: int) -> int | None:
        """The first level from ``level`` upwards that keeps ``tensor``."""
        return next((up for up in range(level, len(self.keeps)) if self.keeps[up][tensor]), None)

    def child(self, level: int, tensor: int) -> int | None:
        """The next level below ``level`` that keeps ``tensor``; None is the compute."""
        return next((low for low in range(level - 1, -1, -1) if self.keeps[low][tensor]), None)

    def parent(self, level: int, tensor: int) -> int | None:
        """The next level above ``level`` that keeps ``tensor``."""
        return self.holder(level + 1, tensor)

    def factors(self, replaced: Mapping[Slot, Mapping[str, Ints]], where: str) -> Ints:
        """(batch, loop) factors: those of the spec, or of ``replaced`` where it names them."""
        sizes = {len(values) for dims in replaced.values() for values in dims.values()}
        if len(sizes) > 1:
            raise CrispLoopError(f"{where}: factor arrays of different lengths: {sorted(sizes)}.")
        batch = sizes.pop() if sizes else 1
        factors = columns(batch, len(self.given))
        factors[:] = self.given
        for slot, dims in replaced.items():
            if slot not in self.slots:
                known = ", ".join(f"{target} {kind}" for target, kind in self.slots)
                raise CrispLoopError(
                    f"{where}: the mapping has no loops at {slot[0]} {slot[1]};"
                    f" it has them at {known}."
                )
            for dim, values in dims.items():
                if dim not in self.slots[slot]:
                    raise CrispLoopError(f"{where}: {dim!r} is no dimension of the problem.")
                factors[:, self.slots[slot][dim]] = values
        return factors


def parse_nest(mapping: Field, architecture: Architecture, problem: Problem) -> Nest:
    """The mapping section."""
    names = [level.name for level in architecture.levels]
    given: dict[Slot, dict[str, int]] = {}
    orders: dict[Slot, str] = {}
    splits: dict[str, int] = {}
    keeps = [[True] * len(problem.tensors) for _ in names]
    for directive in mapping.items():
        fields = directive.entries(
            {"target", "type", "factors", "permutation", "split", "keep", "bypass"}
        )
        target, kind = directive.required(fields, "target"), directive.required(fields, "type")
        if target.text() not in names:
            raise target.error(f"expected a storage level: {', '.join(names)}")
        level = names.index(target.text())
        if kind.text() in ("bypass", "datatype"):
            for key, kept in (("keep", True), ("bypass", False)):
                for item in fields[key].items() if key in fields else []:
                    tensor = problem.index(item.text())
                    if tensor is None:
                        raise item.error("expected a data space of the problem")
                    keeps[level][tensor] = kept
            continue
        if kind.text() not in ("temporal", "spatial"):
            raise kind.unsupported("expected temporal, spatial or bypass")
        slot = (target.text(), kind.text())
        if slot in given:
            raise directive.error(f"{target.text()} has its {kind.text()} loops already")
        if kind.text() == "spatial":
            if architecture.fanout(level) == (1, 1):
                raise directive.error(
                    f"{target.text()} has no spatial fanout: the level below has as many instances"
                )
            if "split" in fields:
                splits[target.text()] = fields["split"].whole()
        given[slot] = _factors(fields, problem)
        orders[slot] = _permutation(fields, problem)
    if not all(keeps[-1]):
        raise mapping.unsupported(f"the outermost level, {names[-1]}, must keep every data space")

    loops: list[Loop] = []
    factors: list[int] = []
    slots: dict[Slot, dict[str, int]] = {}
    for level, name in enumerate(names):
        kinds = ["temporal"] if architecture.fanout(level) == (1, 1) else ["spatial", "temporal"]
        for kind in kinds:
            slot = (name, kind)
            slots[slot] = {}
            split = splits.get(name, len(problem.dims))
            # A permutation names the innermost loop first; what it leaves out follows.
            for position, dim in enumerate(orders.get(slot, "".join(problem.dims))):
                axis = "T" if kind == "temporal" else "X" if position < split else "Y"
                slots[slot][dim] = len(loops)
                loops.append(Loop(level, dim, axis))
                factors.append(given.get(slot, {}).get(dim, 1))
    return Nest(tuple(loops), tuple(factors), tuple(tuple(row) for row in keeps), slots)


def _factors(fields: dict[str, Field], problem: Problem) -> dict[str, int]:
    if "factors" not in fields:
        return {}
    field = fields["factors"]
    text = field.text().split("#")[0]
    factors: dict[str, int] = {}
    for word in re.split(r"[\s;]+", re.sub(r"\s*=\s*", "=", text).strip()):
        if not word:
            continue
        match = re.fullmatch(r"([A-Za-z]+)=?(\d+)(,\d+)?", word)
        if not match:
            raise field.error(f"{word!r} is no factor; expected DIMENSION=FACTOR")
        if match[3] and match[3] != f",{match[2]}":
            raise field.unsupported(f"{word} is an imperfect factor; factors must divide")
        dim, factor = match[1], int(match[2])
        if dim not in problem.dims:
            raise field.error(f"{dim!r} is no dimension; expected {', '.join(problem.dims)}")
        if dim in factors:
            raise field.error(f"{dim!r} has two factors")
        if factor < 1:
            raise field.error(f"{word!r}: expected a factor of 1 or more")
        factors[dim] = factor
    return factors


def _permutation(fields: dict[str, Field], problem: Problem) -> str:
    if "permutation" not in fields:
        return "".join(problem.dims)
    field = fields["permutation"]
    order = "".join(field.text().split())
    if any(dim not in problem.dims or order.count(dim) > 1 for dim in order):
        raise field.error(f"expected each of {''.join(problem.dims)} once, innermost first")
    return order + "".join(dim for dim in problem.dims if dim not in order)
