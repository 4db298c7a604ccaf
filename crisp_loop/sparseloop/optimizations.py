"""The sparse_optimizations section: representation formats and SAFs.

SAF is Sparseloop's word for a sparse acceleration feature: here skipping of reads
(``skipping``), of spatial instances (``skipping_spatial``) and of computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from crisp_loop.core.errors import InputError
from crisp_loop.sparseloop.architecture import Architecture, StorageLevel
from crisp_loop.sparseloop.fields import Field
from crisp_loop.sparseloop.problem import Shape

FormatName = Literal["UOP", "CP", "B"]
_ACTION_HINT = "the optimizations it knows are skipping and skipping_spatial"


@dataclass(frozen=True)
class Rank:
    """One rank of a fibertree and how its coordinates are written."""

    format: FormatName
    metadata_bits: int
    """Bits of a coordinate (CP) or mask bit (B), rounded up to divide the store's width."""
    payload_bits: int
    """Bits of a pointer to the next fiber."""
    flattened: tuple[tuple[str, ...], ...] = ()
    """Groups of dimensions whose loops this rank takes together; empty: one loop, any."""

    @property
    def compressed(self) -> bool:
        """Whether empty coordinates are left out."""
        return self.format != "UOP"


@dataclass(frozen=True)
class Skipping:
    """Do not touch ``target`` where a tile of a condition is empty."""

    level: int
    target: int
    conditions: tuple[int, ...]
    path: str


@dataclass(frozen=True, eq=False)
class SparseOptimizations:
    """Formats by (level, tensor), and SAFs. Levels and tensors are indices."""

    formats: Mapping[tuple[int, int], tuple[Rank, ...]] = field(default_factory=dict)
    """Ranks innermost first."""
    skipping: tuple[Skipping, ...] = ()
    spatial_skipping: tuple[Skipping, ...] = ()
    skip_compute: bool = False
    """Computes whose operands do not meet cost no cycle."""
    present: bool = False
    """False for a dense design: Timeloop then leaves out the whole sparse analysis."""


def parse_optimizations(
    section: Field, architecture: Architecture, shape: Shape
) -> SparseOptimizations:
    """The sparse_optimizations section."""
    formats: dict[tuple[int, int], tuple[Rank, ...]] = {}
    skipping: list[Skipping] = []
    spatial: list[Skipping] = []
    skip_compute = False
    top = section.entries({"version", "targets"})
    targets = top["targets"].items() if "targets" in top else []
    for target in targets:
        fields = target.entries(
            {"name", "representation_format", "action_optimization", "compute_optimization"}
        )
        name = target.required(fields, "name").text()
        if "compute_optimization" in fields:
            if name != architecture.compute.name:
                raise fields["name"].error(f"expected {architecture.compute.name}")
            for item in fields["compute_optimization"].items():
                kind = item.required(item.entries({"type"}), "type")
                if kind.text() not in ("skipping", "skip_on_not_aligned_operands"):
                    raise kind.unsupported("the compute optimization it knows is skipping")
                skip_compute = True
        if "representation_format" not in fields and "action_optimization" not in fields:
            continue
        level = architecture.index(name)
        if level is None:
            known = ", ".join(each.name for each in architecture.levels)
            raise fields["name"].error(f"expected a storage level: {known}")
        if "representation_format" in fields:
            parts = fields["representation_format"].entries({"data_spaces"})
            for space in fields["representation_format"].required(parts, "data_spaces").items():
                tensor, ranks = _parse_format(space, architecture.levels[level], shape)
                if (level, tensor) in formats:
                    raise space.error("this data space has a format here already")
                formats[level, tensor] = ranks
        if "action_optimization" in fields:
            for item in fields["action_optimization"].items():
                kind, skip = _parse_action(item, level, shape)
                (spatial if kind == "skipping_spatial" else skipping).append(skip)
    return SparseOptimizations(
        formats, tuple(skipping), tuple(spatial), skip_compute, present=bool(targets)
    )


def _tensor(field: Field, shape: Shape) -> int:
    tensor = shape.index(field.text())
    if tensor is None:
        raise field.error(f"expected one of {', '.join(each.name for each in shape.tensors)}")
    return tensor


def _parse_action(item: Field, level: int, shape: Shape) -> tuple[str, Skipping]:
    fields = item.entries({"type", "target", "condition_on"})
    kind = item.required(fields, "type")
    if kind.text() not in ("skipping", "skipping_spatial"):
        raise kind.unsupported(_ACTION_HINT)
    target = _tensor(item.required(fields, "target"), shape)
    conditions = item.required(fields, "condition_on")
    tensors = tuple(_tensor(each, shape) for each in conditions.items())
    if not tensors:
        raise conditions.error("expected at least one data space")
    if kind.text() == "skipping_spatial" and len(tensors) > 1:
        raise conditions.unsupported("spatial skipping takes one data space")
    return kind.text(), Skipping(level, target, tensors, item.path)


def _parse_format(space: Field, level: StorageLevel, shape: Shape) -> tuple[int, tuple[Rank, ...]]:
    fields = space.entries({"name", "rank_application_order", "ranks"})
    tensor = _tensor(space.required(fields, "name"), shape)
    if shape.tensors[tensor].output:
        raise space.unsupported("outputs are uncompressed")
    order = fields.get("rank_application_order")
    if order is None or order.value != "inner_to_outer":
        shown = order or Field(space.where, f"{space.path}.rank_application_order", None)
        raise shown.unsupported("expected inner_to_outer")
    given = space.required(fields, "ranks").items()
    if not given:
        raise fields["ranks"].error("expected at least one rank")
    # The spec lists the top rank first; ranks are counted from the innermost.
    ranks = tuple(_parse_rank(rank, level, shape) for rank in reversed(given))
    if not any(rank.compressed for rank in ranks):
        raise fields["ranks"].unsupported("expected a compressed rank (CP or B)")
    for inner, outer in pairwise(ranks):
        if outer.compressed and not inner.compressed:
            raise fields["ranks"].error(
                f"a compressed rank ({outer.format}) cannot stand above an uncompressed one"
            )
    return tensor, ranks


def _parse_rank(rank: Field, level: StorageLevel, shape: Shape) -> Rank:
    fields = rank.entries(
        {"format", "metadata_word_bits", "payload_word_bits", "flattened_rankIDs"}
    )
    name = rank.required(fields, "format")
    upper = name.text().upper()
    if name.text() not in (upper, upper.lower()) or upper not in ("UOP", "CP", "B"):
        raise name.unsupported("the formats it knows are UOP, CP and B")
    flattened = []
    for group in fields["flattened_rankIDs"].items() if "flattened_rankIDs" in fields else []:
        for dim in group.items():
            if dim.text() not in shape.dims:
                raise dim.error(f"expected one of the dimensions {', '.join(shape.dims)}")
        flattened.append(tuple(group.names()))
    bits = {}
    for key in ("metadata_word_bits", "payload_word_bits"):
        default = 1 if upper == "B" and key == "metadata_word_bits" else None
        given = fields[key].whole() if key in fields else default
        bits[key] = _adjusted(given, level, rank)
    return Rank(
        format=upper,  # pyright: ignore[reportArgumentType]
        metadata_bits=bits["metadata_word_bits"],
        payload_bits=bits["payload_word_bits"],
        flattened=tuple(flattened),
    )


def stored_bits(bits: int, width: int) -> int:
    """Bits that a metadata word of ``bits`` takes: the next size that divides the store's width.

    Where none below twice the word does, it is twice the word.
    """
    if bits and width % bits:
        return next((wider for wider in range(bits, 2 * bits) if width % wider == 0), 2 * bits)
    return bits


def _adjusted(bits: int | None, level: StorageLevel, rank: Field) -> int:
    """Word bits as the store keeps them; those of the level where the rank gives none."""
    if bits is None:
        return level.metadata_word_bits
    width = level.metadata_width
    bits = stored_bits(bits, width)
    if bits > width:
        raise InputError(
            rank.where,
            rank.path,
            rank.value,
            f"a word of {bits} bits exceeds {level.name}'s metadata_storage_width of {width}",
        )
    return bits
