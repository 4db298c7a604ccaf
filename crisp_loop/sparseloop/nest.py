"""The mapping section: one list of loops, innermost first, and what each level keeps.

A nest is the same for all mappings of a batch, and for all specs whose mappings differ in nothing
but factors; the factors are columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sparseloop.architecture import Architecture
from crisp_loop.sparseloop.columns import IntArray, Ints
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.problem import Shape

Slot = tuple[str, str]
"""(target, "temporal" | "spatial") of a directive."""
_KINDS = ("temporal", "spatial")


@dataclass(frozen=True)
class Loop:
    """One loop of the complete nest; trivial ones (factor 1) are in it too."""

    level: int
    dim: str
    axis: str
    """``T`` for time, ``X`` or ``Y`` for space."""

    @cached_property
    def spatial(self) -> bool:
        """Whether the iterations run side by side."""
        return self.axis != "T"


@dataclass(frozen=True, eq=False)
class Nest:
    """A loop nest. Within a level the spatial loops lie inside the temporal ones."""

    loops: tuple[Loop, ...]
    keeps: tuple[tuple[bool, ...], ...]
    """[level][tensor]: stored there, or bypassed."""
    slots: Mapping[Slot, Mapping[str, int]]
    """Directive to dimension to position in ``loops``."""

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """One past the last loop of each level."""
        last = {loop.level: index + 1 for index, loop in enumerate(self.loops)}
        return tuple(last[level] for level in sorted(last))

    def within(self, first: int, last: int) -> range:
        """Positions of the loops of levels ``first`` to ``last``."""
        return range(self.ends[first - 1] if first else 0, self.ends[last])

    @cached_property
    def innermost_spatial(self) -> tuple[int, ...]:
        """The loops that spread over compute units, innermost first."""
        return tuple(at for at in self.within(0, 0) if self.loops[at].spatial)

    @cached_property
    def kept(self) -> tuple[tuple[int, ...], ...]:
        """[tensor] the levels that keep it, innermost first."""
        tensors = range(len(self.keeps[0]))
        return tuple(
            tuple(level for level, keeps in enumerate(self.keeps) if keeps[tensor])
            for tensor in tensors
        )

    def holder(self, level: int, tensor: int) -> int | None:
        """The first level from ``level`` upwards that keeps ``tensor``."""
        for up in self.kept[tensor]:
            if up >= level:
                return up
        return None

    def child(self, level: int, tensor: int) -> int | None:
        """The next level below ``level`` that keeps ``tensor``; None is the compute."""
        for low in reversed(self.kept[tensor]):
            if low < level:
                return low
        return None

    def parent(self, level: int, tensor: int) -> int | None:
        """The next level above ``level`` that keeps ``tensor``."""
        return self.holder(level + 1, tensor)

    def replaced(
        self, given: Sequence[int], factors: Mapping[Slot, Mapping[str, IntArray]], where: str
    ) -> list[Ints]:
        """The factor of each loop: ``given``, or that of ``factors`` where it names one."""
        found: list[Ints] = list(given)
        for slot, dims in factors.items():
            if slot not in self.slots:
                known = ", ".join(f"{target} {kind}" for target, kind in self.slots)
                raise CrispLoopError(
                    f"{where}: the mapping has no loops at {slot[0]} {slot[1]};"
                    f" it has them at {known}."
                )
            for dim, values in dims.items():
                if dim not in self.slots[slot]:
                    raise CrispLoopError(f"{where}: {dim!r} is no dimension of the problem.")
                found[self.slots[slot][dim]] = values
        return found


def parse_nest(mapping: Field, architecture: Architecture, shape: Shape) -> Nest:
    """The mapping section but for its factors, which :func:`parse_factors` reads."""
    names = [level.name for level in architecture.levels]
    orders: dict[Slot, str] = {}
    splits: dict[str, int] = {}
    keeps = [[True] * len(shape.tensors) for _ in names]
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
                    tensor = shape.index(item.text())
                    if tensor is None:
                        raise item.error("expected a data space of the problem")
                    keeps[level][tensor] = kept
            continue
        if kind.text() not in _KINDS:
            raise kind.unsupported("expected temporal, spatial or bypass")
        slot = (target.text(), kind.text())
        if slot in orders:
            raise directive.error(f"{target.text()} has its {kind.text()} loops already")
        if kind.text() == "spatial":
            if architecture.fanouts[level] == (1, 1):
                raise directive.error(
                    f"{target.text()} has no spatial fanout: the level below has as many instances"
                )
            if "split" in fields:
                splits[target.text()] = fields["split"].whole()
        orders[slot] = _permutation(fields, shape.dims)
    if not all(keeps[-1]):
        raise mapping.unsupported(f"the outermost level, {names[-1]}, must keep every data space")

    loops: list[Loop] = []
    slots: dict[Slot, dict[str, int]] = {}
    for level, name in enumerate(names):
        kinds = ["temporal"] if architecture.fanouts[level] == (1, 1) else ["spatial", "temporal"]
        for kind in kinds:
            slot = (name, kind)
            slots[slot] = {}
            split = splits.get(name, len(shape.dims))
            # A permutation names the innermost loop first; what it leaves out follows.
            for position, dim in enumerate(orders.get(slot, "".join(shape.dims))):
                axis = "T" if kind == "temporal" else "X" if position < split else "Y"
                slots[slot][dim] = len(loops)
                loops.append(Loop(level, dim, axis))
    return Nest(tuple(loops), tuple(tuple(row) for row in keeps), slots)


def _permutation(fields: dict[str, Field], dims: tuple[str, ...]) -> str:
    if "permutation" not in fields:
        return "".join(dims)
    field = fields["permutation"]
    order = "".join(field.text().split())
    if any(dim not in dims or order.count(dim) > 1 for dim in order):
        raise field.error(f"expected each of {''.join(dims)} once, innermost first")
    return order + "".join(dim for dim in dims if dim not in order)


def parse_factors(mapping: Field, nest: Nest) -> tuple[int, ...]:
    """The factor of each loop of ``nest``, which was parsed from the same section."""
    given = [1] * len(nest.loops)
    for index, directive in enumerate(mapping.value):
        if "factors" in directive and directive["type"] in _KINDS:
            field = Field(mapping.where, f"{mapping.path}[{index}].factors", directive["factors"])
            slot = nest.slots[directive["target"], directive["type"]]
            for dim, factor in _factors(field, slot).items():
                given[slot[dim]] = factor
    return tuple(given)


def _factors(field: Field, dims: Mapping[str, int]) -> dict[str, int]:
    factors: dict[str, int] = {}
    for word, dim, factor, last in _words(field.text()):
        if not dim:
            raise field.error(f"{word!r} is no factor; expected DIMENSION=FACTOR")
        if last != factor:
            raise field.unsupported(f"{word} is an imperfect factor; factors must divide")
        if dim not in dims:
            raise field.error(f"{dim!r} is no dimension; expected {', '.join(sorted(dims))}")
        if dim in factors:
            raise field.error(f"{dim!r} has two factors")
        if factor < 1:
            raise field.error(f"{word!r}: expected a factor of 1 or more")
        factors[dim] = factor
    return factors


_EQUALS, _SEPARATOR = re.compile(r"\s*=\s*"), re.compile(r"[\s;]+")
_FACTOR = re.compile(r"([A-Za-z]+)=?(\d{1,18})(?:,(\d{1,18}))?")


@lru_cache(maxsize=4096)
def _words(text: str) -> list[tuple[str, str, int, int]]:
    """Each word of some factors, ``N=4,3`` as a dimension, its factor, and that of the last
    iteration; without a dimension where it is none."""
    words = _SEPARATOR.split(_EQUALS.sub("=", text.split("#")[0]).strip())
    matches = [(word, _FACTOR.fullmatch(word)) for word in words if word]
    return [
        (word, match[1], int(match[2]), int(match[3] or match[2])) if match else (word, "", 0, 0)
        for word, match in matches
    ]
